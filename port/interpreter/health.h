#pragma once

#include <string>

#include "conversion/encode.h"
#include "python/py_ref.h"

namespace erlang_python {

/// Attached. Does what every request needs and no code of a user: takes descriptors, memory and a thread of the
/// operating system, runs `function` (erlang._health.check) and converts a value. What went wrong, in a sentence or
/// two; empty when nothing did. An interrupt is what went wrong like anything else: the caller knows whether it has
/// sent one.
std::string find_trouble(PyObject* function, const PythonTypes& types, AtomAnnouncer& atoms);

}  // namespace erlang_python
