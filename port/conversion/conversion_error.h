#pragma once

#include "conversion/python_types.h"

namespace erlang_python {

/// Sets erlang.ConversionError with the reason `what`, a str. Replaces an error that is set.
void raise_conversion_error(const PythonTypes& types, const char* what);

/// Sets erlang.ConversionError with the reason `(what, repr(value))`, the text cut to a length fit for a log line. When
/// repr() itself raises, the type's name stands for it.
void raise_conversion_error(const PythonTypes& types, const char* what, PyObject* value);

}  // namespace erlang_python
