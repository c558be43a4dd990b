#pragma once

#include <atomic>

#include "base/unique_fd.h"
#include "protocol/frame_parser.h"
#include "runtime/dispatcher.h"
#include "runtime/leadership.h"

namespace erlang_python {

/// Reads frames from Erlang and dispatches them. Used by one thread at a time: the one that `leadership` names.
class StdinReader {
 public:
  StdinReader(UniqueFd fd, FrameParser parser) : fd_(std::move(fd)), parser_(std::move(parser)) {}
  StdinReader(const StdinReader&) = delete;
  StdinReader& operator=(const StdinReader&) = delete;

  /// -1 when it has ended.
  int fd() const { return ended_.load(std::memory_order_acquire) ? -1 : fd_.get(); }
  Leadership& leadership() { return leadership_; }

  /// One non-blocking read, and the dispatch of every frame that is complete then, or of the end of the input: Erlang
  /// has closed the port, or is gone.
  void read_once(Dispatcher& dispatcher, ContextId reader, Batch& batch);

 private:
  const UniqueFd fd_;
  std::atomic<bool> ended_ = false;
  Leadership leadership_;
  FrameParser parser_;  // Of the leader.
};

}  // namespace erlang_python
