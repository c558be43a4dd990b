#include "app/erlang_builtin.h"

#include <new>

#include "callback/erlang_module.h"
#include "callback/python_functions.h"
#include "context/steps_type.h"
#include "context/ticket_type.h"
#include "python/entry.h"
#include "python/module_slots.h"
#include "thread/current_thread.h"

namespace erlang_python {
namespace {

// A larger write is cut, and other threads of the interpreter run in between.
constexpr std::size_t kOutputChunkBytes = 64 * 1024;

ContextId current_context(const ErlangModule& state) {
  const ContextId context = current_thread().context;
  return context != 0 ? context : state.context.load();
}

PyObject* write_output(PyObject* module, PyObject* args) noexcept {
  int fd = 0;
  Py_buffer bytes;
  if (PyArg_ParseTuple(args, "iy*:write", &fd, &bytes) == 0) return nullptr;
  if (fd != 1 && fd != 2) {
    PyBuffer_Release(&bytes);
    PyErr_Format(PyExc_ValueError, "fd must be 1 or 2, not %d", fd);
    return nullptr;
  }
  const ErlangModule& state = erlang_module_state(module);
  const ContextId context = current_context(state);
  const ErlangLink* const link = state.link;
  OutputSink* output = link != nullptr ? &link->output : nullptr;
  Bytes rest{static_cast<const std::uint8_t*>(bytes.buf), static_cast<std::size_t>(bytes.len)};
  while (output != nullptr && rest.size() > kOutputChunkBytes) {
    Py_BEGIN_ALLOW_THREADS;
    output->write(fd, context, rest.first(kOutputChunkBytes));
    Py_END_ALLOW_THREADS;
    rest = rest.subspan(kOutputChunkBytes);
  }
  if (output != nullptr) output->write(fd, context, rest);
  PyBuffer_Release(&bytes);
  Py_RETURN_NONE;
}

PyObject* context_id(PyObject* module, PyObject*) noexcept {
  return PyLong_FromUnsignedLong(current_context(erlang_module_state(module)));
}

PyMethodDef methods[] = {
    {"write", method(write_output), METH_VARARGS,
     "write(fd: int, data: bytes) -> None\n\nSend output of the current context to the Erlang logger, line by line."},
    {"context_id", method(context_id), METH_NOARGS,
     "context_id() -> int\n\nNumber of the context that the calling thread belongs to; 0 when it is not known."},
    {nullptr, nullptr, 0, nullptr},
};

int exec_module(PyObject* module) noexcept {
  new (&erlang_module_state(module)) ErlangModule{};
  return add_callback_functions(module) && add_ticket_type(module) && add_steps_type(module) ? 0 : -1;
}

ErlangModule* state_of(PyObject* module) { return static_cast<ErlangModule*>(PyModule_GetState(module)); }

// The classes lead back to the module. What the collector does not see of that is left over when an interpreter ends,
// and keeps all of its memory.
int traverse_module(PyObject* module, visitproc visit, void* arg) noexcept {
  const ErlangModule* const state = state_of(module);
  if (state == nullptr) return 0;
  Py_VISIT(state->ticket_type);
  Py_VISIT(state->steps_type);
  Py_VISIT(state->origin_type);
  Py_VISIT(state->scope_variable);
  const PythonTypes* const types = state->types.load();
  return types != nullptr ? types->traverse(visit, arg) : 0;
}

int clear_module(PyObject* module) noexcept {
  ErlangModule* const state = state_of(module);
  if (state == nullptr) return 0;
  Py_CLEAR(state->ticket_type);
  Py_CLEAR(state->steps_type);
  Py_CLEAR(state->origin_type);
  Py_CLEAR(state->scope_variable);
  delete state->types.exchange(nullptr);
  return 0;
}

void free_module(void* module) noexcept {
  ErlangModule* const state = state_of(static_cast<PyObject*>(module));
  if (state == nullptr) return;
  clear_module(static_cast<PyObject*>(module));
  state->~ErlangModule();
}

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_erlang",    "What the package erlang needs of the port program.",
    sizeof(ErlangModule),  methods,      module_slots<exec_module>(),
    traverse_module,       clear_module, free_module,
};

PyObject* init_module() noexcept { return PyModuleDef_Init(&definition); }

}  // namespace

void register_erlang_module() { PyImport_AppendInittab("_erlang", init_module); }

}  // namespace erlang_python
