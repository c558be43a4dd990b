#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// While it lives, Python code runs as if nothing was below it on the stack: the limit of recursion counts from here
/// (how deep others wait below is bounded elsewhere), no exception is being handled that a new one would be chained to,
/// and with `hide_loop` no event loop is running, and no task. Attached, on one thread.
class FreshStack {
 public:
  explicit FreshStack(bool hide_loop = true);
  ~FreshStack();
  FreshStack(const FreshStack&) = delete;
  FreshStack& operator=(const FreshStack&) = delete;

 private:
  PyThreadState* const state_;
  const int remaining_;
  const PyRef handled_;
  PyRef asyncio_;  ///< module _asyncio, when a loop was running
  PyRef loop_;
  PyRef task_;  ///< the current one, where it belongs to the thread
};

}  // namespace erlang_python
