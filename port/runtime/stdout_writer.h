#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"
#include "etf/term_writer.h"
#include "protocol/messages.h"

namespace erlang_python {

/// Writes frames to Erlang. Any thread sends; what the pipe does not take at once is kept, in order, and drained by the
/// loop thread. Ends the process when Erlang is gone.
class StdoutWriter {
 public:
  explicit StdoutWriter(UniqueFd fd) : fd_(std::move(fd)) {}
  StdoutWriter(const StdoutWriter&) = delete;
  StdoutWriter& operator=(const StdoutWriter&) = delete;

  int fd() const { return fd_.get(); }

  /// Called, by any thread, when something was left for drain(). Set before the first send from another thread.
  void set_backlog_bell(std::function<void()> bell) { bell_ = std::move(bell); }

  /// Sends a finished frame, its length in front.
  void send(Bytes frame) { send(frame, {}); }

  /// Sends a reply that begin_reply() began in `out` and a payload that was appended from `payload_start` on, in pieces
  /// when it is large.
  void send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, std::uint32_t slot);

  /// True when so much waits for Erlang that a sender of large values should wait_for_room(), without a GIL.
  bool congested() const { return backlog_bytes_.load(std::memory_order_relaxed) > kHighWaterBytes; }
  void wait_for_room();

  /// Loop thread: writes what it can of the backlog; true when nothing is left.
  [[nodiscard]] bool drain();

  /// For a signal handler of a dying process: sends a frame behind what waits. Gives up after some tens of
  /// milliseconds.
  void send_from_signal_handler(Bytes frame) noexcept;

 private:
  static constexpr std::size_t kHighWaterBytes = 4 * kMaxPieceBytes;

  void send(Bytes first, Bytes second);
  /// Number of bytes that the pipe took. Guarded by mu_.
  std::size_t write_some(Bytes first, Bytes second);

  const UniqueFd fd_;
  std::function<void()> bell_;  // Constant after start.

  std::mutex mu_;
  // Guarded by mu_.
  std::vector<std::uint8_t> backlog_;
  std::size_t backlog_begin_ = 0;
  std::condition_variable room_;

  std::atomic<std::size_t> backlog_bytes_ = 0;
};

}  // namespace erlang_python
