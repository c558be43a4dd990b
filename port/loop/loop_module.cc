#include "loop/loop_module.h"

#include "loop/selector.h"
#include "loop/selector_keys.h"
#include "python/module_slots.h"

namespace erlang_python {
namespace {

LoopModuleState* state_of(PyObject* module) { return static_cast<LoopModuleState*>(PyModule_GetState(module)); }

PyObject* in_main_interpreter(PyObject*, PyObject*) {
  return PyBool_FromLong(PyInterpreterState_Get() == PyInterpreterState_Main() ? 1 : 0);
}

PyMethodDef methods[] = {
    {"in_main_interpreter", in_main_interpreter, METH_NOARGS,
     "in_main_interpreter() -> bool\n\nFalse in the subinterpreter of an owngil context."},
    {nullptr, nullptr, 0, nullptr},
};

int exec_module(PyObject* module) {
  LoopModuleState& state = *state_of(module);
  auto selectors = PyRef::steal(PyImport_ImportModule("selectors"));
  if (!selectors) return -1;
  auto key = PyRef::steal(PyObject_GetAttrString(selectors.get(), "SelectorKey"));
  if (!key) return -1;
  if (!PyType_Check(key.get()) || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(key.get()), &PyTuple_Type)) {
    PyErr_SetString(PyExc_ImportError, "selectors.SelectorKey is no tuple");
    return -1;
  }
  state.key_type = reinterpret_cast<PyTypeObject*>(key.release());
  state.map_type = make_map_type(module);
  if (state.map_type == nullptr || PyModule_AddType(module, state.map_type) != 0) return -1;
  state.selector_type = make_selector_type(module);
  if (state.selector_type == nullptr || PyModule_AddType(module, state.selector_type) != 0) return -1;
  return 0;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  const LoopModuleState* state = state_of(module);
  Py_VISIT(state->selector_type);
  Py_VISIT(state->map_type);
  Py_VISIT(state->key_type);
  return 0;
}

int clear(PyObject* module) {
  LoopModuleState* state = state_of(module);
  Py_CLEAR(state->selector_type);
  Py_CLEAR(state->map_type);
  Py_CLEAR(state->key_type);
  return 0;
}

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_erlang_loop",
    "The selector of erlang.ErlangEventLoop.",
    sizeof(LoopModuleState),
    methods,
    module_slots<exec_module>(),
    traverse,
    clear,
    nullptr,
};

PyObject* init_module() { return PyModuleDef_Init(&definition); }

}  // namespace

void register_loop_module() { PyImport_AppendInittab("_erlang_loop", init_module); }

LoopModuleState* loop_module_state(PyTypeObject* type) {
  // The type itself, or a base of a class that Python made of it.
  PyObject* module = PyType_GetModuleByDef(type, &definition);
  return module != nullptr ? state_of(module) : nullptr;
}

}  // namespace erlang_python
