#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "runtime/stdout_writer.h"

namespace erlang_python {

/// Turns what Python and C code write to fd 1 and 2 into OUTPUT frames, line by line. Any thread.
///
/// Bounded: a line is cut at kMaxLineBytes, and beyond kLinesPerSecond (with a burst of kBurstLines) lines are dropped
/// and counted, so that a loop of print() cannot flood the node's log. The writer never waits.
class OutputSink {
 public:
  explicit OutputSink(StdoutWriter& writer) : writer_(writer) {}
  OutputSink(const OutputSink&) = delete;
  OutputSink& operator=(const OutputSink&) = delete;

  /// Called when tend() should be called a little later. Set before other threads run.
  void set_tend_bell(std::function<void()> bell) { tend_bell_ = std::move(bell); }

  /// `context` 0: not known.
  void write(int fd, ContextId context, Bytes bytes);

  /// Sends the unfinished lines of a context, at the end of a request. Cheap when no context has one.
  void flush(ContextId context) {
    if (unfinished_.load(std::memory_order_relaxed) > 0) flush_unfinished(context);
  }

  /// Sends the unfinished lines of no known context, which no request ends, and says how many lines were dropped.
  void tend();

  /// The context is gone: sends its unfinished lines and keeps nothing of it.
  void forget(ContextId context) { flush_unfinished(context); }

  static constexpr std::size_t kMaxLineBytes = 8 * 1024;
  static constexpr std::int64_t kLinesPerSecond = 1000;
  static constexpr std::int64_t kBurstLines = 2000;

 private:
  void flush_unfinished(ContextId context);
  void send_unfinished(ContextId context) REQUIRES(mu_);
  void emit(int fd, ContextId context, Bytes line) REQUIRES(mu_);
  bool take_token() REQUIRES(mu_);
  void send_dropped() REQUIRES(mu_);

  StdoutWriter& writer_;
  std::function<void()> tend_bell_;  // Constant after start.
  std::atomic<int> unfinished_ = 0;  ///< number of unfinished lines of known contexts

  Mutex mu_;
  std::map<std::pair<ContextId, int>, std::string> lines_ GUARDED_BY(mu_);
  TermWriter frame_ GUARDED_BY(mu_);
  std::int64_t tokens_ GUARDED_BY(mu_) = kBurstLines;
  std::int64_t refilled_ns_ GUARDED_BY(mu_) = 0;
  std::int64_t dropped_ GUARDED_BY(mu_) = 0;
};

}  // namespace erlang_python
