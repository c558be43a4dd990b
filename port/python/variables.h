#pragma once

#include <utility>

#include "python/py_ref.h"

namespace erlang_python {

/// While it lives, code on this thread runs with these context variables (PEP 567; decimal's precision is one), and
/// what it sets stays there. A contextvars.Context can be entered once at a time: where it is entered already, which
/// may be by another thread, code runs with a copy of it. Attached, on one thread.
class EnteredVariables {
 public:
  /// Null: code runs with what there is.
  explicit EnteredVariables(PyRef variables) : variables_(std::move(variables)) {
    if (!variables_) return;
    entered_ = PyContext_Enter(variables_.get()) == 0;
    if (entered_) return;
    PyErr_Clear();
    variables_ = PyRef::steal(PyContext_Copy(variables_.get()));
    entered_ = variables_ && PyContext_Enter(variables_.get()) == 0;
    if (!entered_) PyErr_Clear();
  }
  ~EnteredVariables() {
    if (entered_ && PyContext_Exit(variables_.get()) != 0) PyErr_Clear();
  }
  EnteredVariables(const EnteredVariables&) = delete;
  EnteredVariables& operator=(const EnteredVariables&) = delete;

 private:
  PyRef variables_;
  bool entered_ = false;
};

/// The context variables that code begins with which has none yet: those that the preload has left. Attached.
class FirstVariables {
 public:
  /// Keeps what these variables are now. False with a Python error set.
  bool keep(PyObject* variables);
  /// A contextvars.Context; null with a Python error set.
  PyRef make() const;

 private:
  PyRef kept_;
  PyRef changeable_;  ///< list of the variables whose values code changes in place, with the values; null for none
};

}  // namespace erlang_python
