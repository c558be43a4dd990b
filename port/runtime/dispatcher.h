#pragma once

#include <memory>
#include <vector>

#include "protocol/frame.h"
#include "protocol/messages.h"

namespace erlang_python {

/// Somebody asleep who has got something to do.
class Sleeper {
 public:
  virtual ~Sleeper() = default;
  virtual ContextId context() const = 0;
  virtual void wake() = 0;
};

/// What one turn of reading brought.
struct Batch {
  bool any = false;                              ///< at least one frame, or the end of the input
  bool own = false;                              ///< at least one for the reader's own context
  std::vector<std::shared_ptr<Sleeper>> asleep;  ///< to be woken by the reader when it has settled the leadership

  void clear() {
    any = own = false;
    asleep.clear();
  }
};

/// Takes frames to where they belong. Called by the one thread that reads, never with a GIL; must not wait for Python.
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;
  /// `reader` is the context whose thread reads, 0 for the loop.
  virtual void dispatch(Frame frame, ContextId reader, Batch& batch) = 0;
  virtual void refused_frame(std::size_t length) = 0;
  /// Nothing more comes: Erlang has closed the port, or is gone.
  virtual void input_ended(ContextId reader, Batch& batch) = 0;
};

}  // namespace erlang_python
