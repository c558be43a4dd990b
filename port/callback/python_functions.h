#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// Adds to the module `_erlang` what Python calls Erlang with: call, send, self, is_registered, functions, and the
/// class Inbox. False with a Python error set.
bool add_callback_functions(PyObject* module);

}  // namespace erlang_python
