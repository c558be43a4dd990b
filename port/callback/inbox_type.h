#pragma once

#include <optional>

#include "callback/asking.h"

namespace erlang_python {

/// Adds the class `Inbox` to the module `_erlang`. False with a Python error set.
bool add_inbox_type(PyObject* module);

/// How code of the interpreter of this module `_erlang` asks Erlang; nullopt with RuntimeError set before it is bound.
std::optional<Asker> asker_of(PyObject* module);

}  // namespace erlang_python
