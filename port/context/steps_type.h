#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// Adds the class `Steps` to the module `_erlang`. False with a Python error set.
bool add_steps_type(PyObject* module);

/// A coroutine that takes the steps of `coroutine`, each of them as one of the request of `ticket`, an
/// `_erlang.Ticket`: with the standard streams that it has (StandardStreams::Steps). Null with a Python error set.
PyRef make_steps(PyObject* module, PyObject* ticket, PyObject* coroutine);

}  // namespace erlang_python
