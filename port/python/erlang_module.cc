#include "python/erlang_module.h"

namespace erlang_python {
namespace {

thread_local ContextId thread_context = 0;

struct ModuleState {
  OutputSink* output;
  ContextId context;
};

ModuleState* state_of(PyObject* module) { return static_cast<ModuleState*>(PyModule_GetState(module)); }

ContextId current_context(const ModuleState& state) { return thread_context != 0 ? thread_context : state.context; }

PyObject* write_output(PyObject* module, PyObject* args) {
  int fd = 0;
  Py_buffer bytes;
  if (PyArg_ParseTuple(args, "iy*:write", &fd, &bytes) == 0) return nullptr;
  ModuleState* state = state_of(module);
  if (state->output != nullptr) {
    state->output->write(fd, current_context(*state),
                         {static_cast<const std::uint8_t*>(bytes.buf), static_cast<std::size_t>(bytes.len)});
  }
  PyBuffer_Release(&bytes);
  Py_RETURN_NONE;
}

PyObject* context_id(PyObject* module, PyObject*) {
  return PyLong_FromUnsignedLong(current_context(*state_of(module)));
}

PyMethodDef methods[] = {
    {"write", write_output, METH_VARARGS,
     "write(fd: int, data: bytes) -> None\n\nSend output of the current context to the Erlang logger, line by line."},
    {"context_id", context_id, METH_NOARGS,
     "context_id() -> int\n\nNumber of the context that the calling thread belongs to; 0 when it is not known."},
    {nullptr, nullptr, 0, nullptr},
};

int exec_module(PyObject* module) {
  *state_of(module) = ModuleState{nullptr, 0};
  return 0;
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(exec_module)},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_erlang",
    "What the package erlang needs of the port program.",
    sizeof(ModuleState),
    methods,
    slots,
    nullptr,
    nullptr,
    nullptr,
};

PyObject* init_module() { return PyModuleDef_Init(&definition); }

}  // namespace

void register_erlang_module() { PyImport_AppendInittab("_erlang", init_module); }

bool bind_erlang_module(OutputSink& output, ContextId context) {
  auto module = PyRef::steal(PyImport_ImportModule("_erlang"));
  if (!module) return false;
  *state_of(module.get()) = ModuleState{&output, context};
  return true;
}

void set_thread_context(ContextId context) { thread_context = context; }

}  // namespace erlang_python
