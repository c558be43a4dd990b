#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// Registers the built-in module `_erlang_loop`: the selector of erlang.ErlangEventLoop. Before CPython starts.
void register_loop_module();

/// What the types of `_erlang_loop` need; one per interpreter.
struct LoopModuleState {
  PyTypeObject* selector_type;
  PyTypeObject* map_type;
  PyTypeObject* key_type;  ///< selectors.SelectorKey
};

/// That of a type of the module, or of a class derived from one.
LoopModuleState* loop_module_state(PyTypeObject* type);

}  // namespace erlang_python
