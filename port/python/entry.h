#pragma once

#include <Python.h>

namespace erlang_python {

// What CPython calls. An exception that left it would unwind frames of CPython and of extension modules, which are not
// made for it, up to the first of them that catches. So only functions that are noexcept can be put into its tables:
// there an exception ends the process, and the log says which one.

/// For PyMethodDef::ml_meth. The flags beside it say which arguments there are.
template <typename... Arguments>
PyCFunction method(PyObject* (*function)(Arguments...) noexcept) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

/// For PyType_Slot::pfunc and PyModuleDef_Slot::value.
template <typename Result, typename... Arguments>
void* slot(Result (*function)(Arguments...) noexcept) {
  return reinterpret_cast<void*>(function);
}

/// The type in which CPython counts the arguments of a PyCMethod: signed from 3.14 on.
template <typename Result, typename Self, typename Type, typename Args, typename Number, typename Names>
Number count_of(Result (*)(Self, Type, Args, Number, Names));
using ArgumentCount = decltype(count_of(PyCMethod{}));

}  // namespace erlang_python
