#include "python/erlang_module.h"

#include <utility>

#include "callback/python_functions.h"
#include "context/ticket_type.h"
#include "python/module_slots.h"

namespace erlang_python {
namespace {

thread_local ContextId thread_context = 0;
thread_local PyObject* thread_namespace = nullptr;  // borrowed: the running request holds it

// A larger write is cut, and other threads of the interpreter run in between.
constexpr std::size_t kOutputChunkBytes = 64 * 1024;

ContextId current_context(const ErlangModule& state) { return thread_context != 0 ? thread_context : state.context; }

PyObject* write_output(PyObject* module, PyObject* args) {
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
  OutputSink* output = state.link != nullptr ? &state.link->output : nullptr;
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

PyObject* current_namespace(PyObject* module, PyObject*) {
  if (thread_namespace == nullptr) {
    const Ticket* ticket = current_ticket(module);
    if (ticket != nullptr && ticket->shown_as_main) return Py_NewRef(ticket->shown_as_main.get());
  }
  return Py_NewRef(thread_namespace != nullptr ? thread_namespace : Py_None);
}

PyObject* context_id(PyObject* module, PyObject*) {
  return PyLong_FromUnsignedLong(current_context(erlang_module_state(module)));
}

PyMethodDef methods[] = {
    {"write", write_output, METH_VARARGS,
     "write(fd: int, data: bytes) -> None\n\nSend output of the current context to the Erlang logger, line by line."},
    {"context_id", context_id, METH_NOARGS,
     "context_id() -> int\n\nNumber of the context that the calling thread belongs to; 0 when it is not known."},
    {"namespace", current_namespace, METH_NOARGS,
     "namespace() -> dict | None\n\nThe namespace of the request that the calling thread runs."},
    {nullptr, nullptr, 0, nullptr},
};

int exec_module(PyObject* module) {
  erlang_module_state(module) = ErlangModule{};
  return add_callback_functions(module) && add_ticket_type(module) ? 0 : -1;
}

void free_module(void* module) {
  if (void* state = PyModule_GetState(static_cast<PyObject*>(module))) delete static_cast<ErlangModule*>(state)->types;
}

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_erlang",
    "What the package erlang needs of the port program.",
    sizeof(ErlangModule),
    methods,
    module_slots<exec_module>(),
    nullptr,
    nullptr,
    free_module,
};

PyObject* init_module() { return PyModuleDef_Init(&definition); }

}  // namespace

void register_erlang_module() { PyImport_AppendInittab("_erlang", init_module); }

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
  if (state.types == nullptr) state.types = PythonTypes::load().release();
  return state.types != nullptr;
}

void set_thread_context(ContextId context) { thread_context = context; }

ThreadNamespace::ThreadNamespace(PyObject* borrowed) : before_(std::exchange(thread_namespace, borrowed)) {}

ThreadNamespace::~ThreadNamespace() { thread_namespace = before_; }

}  // namespace erlang_python
