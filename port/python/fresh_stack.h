#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// While it lives, Python code runs as if nothing was below it on the stack: the limit of recursion counts from here
/// (how deep others wait below is bounded elsewhere), and no exception is being handled that a new one would be chained
/// to. Attached, on one thread.
class FreshStack {
 public:
  FreshStack()
      : state_(PyThreadState_Get()),
        remaining_(state_->py_recursion_remaining),
        handled_(PyRef::steal(PyErr_GetHandledException())) {
    state_->py_recursion_remaining = state_->py_recursion_limit;
    if (handled_) PyErr_SetHandledException(nullptr);
  }
  ~FreshStack() {
    if (handled_) PyErr_SetHandledException(handled_.get());
    state_->py_recursion_remaining = remaining_;
  }
  FreshStack(const FreshStack&) = delete;
  FreshStack& operator=(const FreshStack&) = delete;

 private:
  PyThreadState* const state_;
  const int remaining_;
  const PyRef handled_;
};

}  // namespace erlang_python
