#pragma once

#include "python/entry.h"

namespace erlang_python {

/// The slots of a module of ours, which is its own in every interpreter and needs no GIL but that one's.
template <int (*kExec)(PyObject*) noexcept>
PyModuleDef_Slot* module_slots() {
  static PyModuleDef_Slot slots[] = {
      {Py_mod_exec, slot(kExec)},
      {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#ifdef Py_mod_gil
      {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
      {0, nullptr},
  };
  return slots;
}

}  // namespace erlang_python
