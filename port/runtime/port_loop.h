#pragma once

#include <uv.h>

#include <atomic>
#include <cstdint>

#include "base/file_identity.h"
#include "base/result.h"
#include "runtime/dispatcher.h"
#include "runtime/output_sink.h"
#include "runtime/stdin_reader.h"
#include "runtime/stdio_claim.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"

namespace erlang_python {

/// Looked after at every tick, while somebody is inside Python. Loop thread; no GIL, no waiting for Python.
class Watched {
 public:
  virtual ~Watched() = default;
  /// True while a context is inside Python or has requests waiting.
  virtual bool busy() const = 0;
  /// Deadlines, memory.
  virtual void watch(std::int64_t now_ns) = 0;
};

/// The libuv loop of the main thread: reads stdin when no context does, drains stdout, forwards captured output, ticks.
class PortLoop {
 public:
  struct Parts {
    StdinReader& reader;
    StdoutWriter& writer;
    OutputSink& output;
    Ticker& ticker;
    Dispatcher& dispatcher;
    Watched& watched;
    int captured_out;
    int captured_error;
  };

  explicit PortLoop(Parts parts);
  PortLoop(const PortLoop&) = delete;
  PortLoop& operator=(const PortLoop&) = delete;

  Status open();
  /// Runs until the process ends.
  [[noreturn]] void run();

  // Any thread: asks the loop to look after something.
  void watch_stdin() { ring(kWatchStdin); }
  void drain_stdout() { ring(kDrainStdout); }
  void tend_output_later() { ring(kTendOutput); }
  /// Python has ended in order: Erlang is told, behind all that was written.
  void python_ended() { ring(kPythonEnded); }
  /// Erlang has closed the port, or is gone. The process leaves when Python has ended, or after a moment.
  void input_ended() { ring(kInputEnded); }

 private:
  enum Errand : std::uint32_t {
    kWatchStdin = 1,
    kDrainStdout = 2,
    kTendOutput = 4,
    kPythonEnded = 8,
    kInputEnded = 16
  };
  void ring(Errand errand);

  void on_doorbell();
  void on_stdin_readable();
  void on_stdout_writable();
  /// Number of bytes that were read.
  std::size_t on_captured(int fd, int pipe);
  void drain_captured(int fd, int pipe);
  void on_tick();
  void start_watching_stdin();
  void on_python_ended();
  void on_input_ended();

  Parts parts_;
  const FileIdentity requests_{parts_.reader.fd()};
  const FileIdentity replies_{parts_.writer.fd()};
  Batch batch_;
  std::atomic<std::uint32_t> errands_ = 0;  ///< uv_async_send coalesces: what is to be done stands here

  // Loop thread only.
  uv_loop_t loop_{};
  uv_async_t doorbell_{};
  uv_poll_t stdin_poll_{};
  uv_poll_t stdout_poll_{};
  uv_poll_t captured_out_poll_{};
  uv_poll_t captured_error_poll_{};
  uv_poll_t tick_poll_{};
  uv_timer_t tend_timer_{};
  uv_timer_t leave_timer_{};
  bool python_ended_ = false;
  bool input_ended_ = false;
  std::uint32_t turn_at_last_tick_ = 0;
  bool running_at_last_tick_ = false;
  std::int64_t watched_ns_ = 0;
  std::int64_t pipes_seen_ns_ = 0;
};

}  // namespace erlang_python
