#pragma once

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

  int fd() const { return fd_.get(); }
  Leadership& leadership() { return leadership_; }

  /// One non-blocking read, and the dispatch of every frame that is complete then. Ends the process when Erlang has
  /// closed the port.
  void read_once(Dispatcher& dispatcher, ContextId reader, Batch& batch);

 private:
  const UniqueFd fd_;
  Leadership leadership_;
  FrameParser parser_;  // Of the leader.
};

}  // namespace erlang_python
