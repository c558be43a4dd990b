#include "callback/erlang_module.h"

namespace erlang_python {

ErlangModule& erlang_module_state(PyObject* module) { return *static_cast<ErlangModule*>(PyModule_GetState(module)); }

bool bind_erlang_module(const ErlangLink& link, ContextId context) {
  auto module = PyRef::steal(PyImport_ImportModule("_erlang"));
  if (!module) return false;
  ErlangModule& state = erlang_module_state(module.get());
  state.link = &link;
  state.context = context;
  return true;
}

bool open_erlang_module() {
  auto module = PyRef::steal(PyImport_ImportModule("_erlang"));
  if (!module) return false;
  ErlangModule& state = erlang_module_state(module.get());
  if (state.types != nullptr) return true;
  auto types = PythonTypes::load();
  if (!types) return false;
  // Another context of the interpreter may have been faster: loading runs Python code.
  PythonTypes* none = nullptr;
  if (state.types.compare_exchange_strong(none, types.get())) static_cast<void>(types.release());
  return true;
}

}  // namespace erlang_python
