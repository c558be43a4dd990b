#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// While it lives, code on this thread has context variables of its own (PEP 567; decimal's precision is one): those of
/// `snapshot`, none when that is null. Attached, on one thread.
class OwnVariables {
 public:
  explicit OwnVariables(PyObject* snapshot)
      : variables_(PyRef::steal(snapshot != nullptr ? PyContext_Copy(snapshot) : PyContext_New())) {
    entered_ = variables_ && PyContext_Enter(variables_.get()) == 0;
    if (!entered_) PyErr_Clear();
  }
  ~OwnVariables() {
    if (entered_ && PyContext_Exit(variables_.get()) != 0) PyErr_Clear();
  }
  OwnVariables(const OwnVariables&) = delete;
  OwnVariables& operator=(const OwnVariables&) = delete;

 private:
  const PyRef variables_;
  bool entered_ = false;
};

}  // namespace erlang_python
