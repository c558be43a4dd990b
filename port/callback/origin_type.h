#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// Adds to the module `_erlang` what takes work to other threads: the function origin, its class Origin, and
/// the function namespace. False with a Python error set.
bool add_origin_type(PyObject* module);

}  // namespace erlang_python
