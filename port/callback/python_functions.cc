#include "callback/python_functions.h"

#include "base/clock.h"
#include "callback/asking.h"
#include "callback/destinations.h"
#include "callback/erlang_module.h"
#include "callback/inbox_type.h"
#include "callback/origin_type.h"
#include "conversion/decode.h"
#include "python/entry.h"

namespace erlang_python {
namespace {

PyObject* call(PyObject* module, PyObject* const* args, Py_ssize_t count, PyObject* keywords) noexcept {
  if (keywords != nullptr && PyTuple_GET_SIZE(keywords) > 0) {
    PyErr_SetString(PyExc_TypeError, "Erlang functions take no keyword arguments");
    return nullptr;
  }
  if (count < 1) {
    PyErr_SetString(PyExc_TypeError, "call() takes the name of an Erlang function, and its arguments");
    return nullptr;
  }
  const auto asker = asker_of(module);
  const auto callee = registered_function(args[0]);
  if (!asker || !callee) return nullptr;
  return ask(*asker, *callee, args + 1, static_cast<std::size_t>(count - 1)).release();
}

struct NamedSystemFunction {
  std::string_view name;  ///< of the function of the package, by which errors call it
  SystemFunction function;
};
constexpr NamedSystemFunction kSystemFunctions[] = {
    {"whereis", SystemFunction::kWhereis},          {"atom", SystemFunction::kAdmitAtom},
    {"state_get", SystemFunction::kStateFetch},     {"state_set", SystemFunction::kStateStore},
    {"state_delete", SystemFunction::kStateRemove}, {"state_keys", SystemFunction::kStateKeys},
    {"state_clear", SystemFunction::kStateClear},   {"state_incr", SystemFunction::kStateIncr},
    {"state_decr", SystemFunction::kStateIncr},
};

PyObject* system_call(PyObject* module, PyObject* const* args, Py_ssize_t count) noexcept {
  Py_ssize_t size = 0;
  const char* name = count < 1 ? nullptr : PyUnicode_AsUTF8AndSize(args[0], &size);
  if (name == nullptr) return PyErr_Occurred() != nullptr ? nullptr : PyErr_Format(PyExc_TypeError, "no function");
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  for (const NamedSystemFunction& known : kSystemFunctions) {
    if (known.name != std::string_view(name, static_cast<std::size_t>(size))) continue;
    return ask(*asker, {args[0], known.function}, args + 1, static_cast<std::size_t>(count - 1)).release();
  }
  return PyErr_Format(PyExc_ValueError, "%R is no system function", args[0]);
}

/// False with a TypeError set for what no message can be sent to.
bool check_destination(PyObject* destination, const PythonTypes& types) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(destination)) == types.pid.get() || PyUnicode_Check(destination) != 0 ||
      (PyTuple_CheckExact(destination) != 0 && PyTuple_GET_SIZE(destination) == 2 &&
       PyUnicode_Check(PyTuple_GET_ITEM(destination, 0)) != 0 &&
       PyUnicode_Check(PyTuple_GET_ITEM(destination, 1)) != 0)) {
    return true;
  }
  PyErr_Format(
      PyExc_TypeError,
      "a message is sent to a Pid, to the name of a registered process, or to a pair of name and node, not to %R",
      destination);
  return false;
}

/// False with ProcessError set when there is no such process, with PermissionError when Erlang does not let us send.
bool check_alive(const Asker& asker, PyObject* destination) {
  auto name = PyRef::steal(PyUnicode_InternFromString("send"));
  if (!name) return false;
  auto alive = ask(asker, {name.get(), SystemFunction::kIsAlive}, &destination, 1);
  if (!alive) return false;
  if (alive.get() == Py_True) return true;
  if (PyUnicode_Check(alive.get()) != 0) {
    const bool is_protected = PyUnicode_CompareWithASCIIString(alive.get(), "protected") == 0;
    PyErr_Format(PyExc_PermissionError,
                 is_protected ? "no message may be sent to %R, which belongs to OTP or erlang_python (pool option send)"
                              : "no message may be sent to %R: it is not the caller, nor did it come from Erlang "
                                "(pool option send, send_names, or py:register_name/1)",
                 destination);
    return false;
  }
  PyErr_Format(asker.types.process_error.get(), "no process %R", destination);
  return false;
}

/// Attached. A process on a node that hangs may keep us waiting for very long: an interrupt ends the wait. It is raised
/// when send() returns to Python.
void wait_for_room(const ErlangLink& link) {
  bool has_room = false;
  while (!has_room && !link.callbacks.closed() && PyThreadState_Get()->async_exc == nullptr) {
    Py_BEGIN_ALLOW_THREADS;
    link.writer.flush_batches();
    has_room = link.writer.wait_for_message_room();
    Py_END_ALLOW_THREADS;
  }
}

PyObject* send(PyObject* module, PyObject* const* args, Py_ssize_t count) noexcept {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "send() takes a destination and a message");
    return nullptr;
  }
  const auto asker = asker_of(module);
  if (!asker || !check_destination(args[0], asker->types)) return nullptr;
  const ErlangLink& link = asker->link;
  if (link.callbacks.closed()) {
    PyErr_SetString(asker->types.erlang_error.get(),
                    "no message can be sent any more: the pool is being stopped, and Python is at its end");
    return nullptr;
  }
  TermWriter out(link.config.term_limits(0));
  out.version();
  out.tuple_header(2);
  const std::size_t start = out.size();
  if (!encode_term(args[0], out, {}, asker->types, link.atoms)) return nullptr;
  const std::size_t end = out.size();
  out.put_large_into(link.segments);
  if (!encode_term(args[1], out, {.none = link.config.none_as}, asker->types, link.atoms)) return nullptr;
  if (out.overflowed()) {
    const Excess excess = out.excess(0, 0);
    return PyErr_Format(PyExc_ValueError, "a message of %zu bytes is larger than %zu (max_frame_bytes, max_term_bytes)",
                        excess.bytes, excess.max_bytes);
  }
  const Bytes destination = out.bytes().subspan(start, end - start);
  const std::int64_t now = now_ns();
  if (!destination_checked(destination, now)) {
    if (!check_alive(*asker, args[0])) return nullptr;
    remember_destination(destination, now);
  }
  link.writer.send_message(out);
  if (link.writer.has_batches()) link.ticker.ensure_armed();
  if (!link.writer.has_message_room() || link.writer.congested()) wait_for_room(link);
  Py_RETURN_NONE;
}

PyObject* self(PyObject* module, PyObject*) noexcept {
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  const RequestScope* scope = asker->scope;
  if (scope == nullptr || scope->caller.empty()) Py_RETURN_NONE;
  TermReader caller(scope->caller);
  static_cast<void>(caller.read_tuple_header());  // in a chain: {Pid, Owner}
  return decode_term(caller, asker->types).release();
}

PyObject* watch_mail(PyObject* module, PyObject* watch) noexcept {
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  const bool on = PyObject_IsTrue(watch) == 1;
  const RequestScope* scope = asker->scope;
  return PyLong_FromLong(scope == nullptr ? -1 : scope->waiter->watch_mail(on));
}

PyObject* serve_mail(PyObject* module, PyObject*) noexcept {
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  if (asker->scope != nullptr) asker->scope->waiter->serve_watched();
  Py_RETURN_NONE;
}

PyObject* is_registered(PyObject* module, PyObject* name) noexcept {
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (text == nullptr) return nullptr;
  return PyBool_FromLong(asker->link.callbacks.is_registered({text, static_cast<std::size_t>(size)}) ? 1 : 0);
}

PyObject* functions(PyObject* module, PyObject*) noexcept {
  const auto asker = asker_of(module);
  if (!asker) return nullptr;
  auto names = PyRef::steal(PyList_New(0));
  if (!names) return nullptr;
  for (const std::string& name : asker->link.callbacks.functions()) {
    auto text = PyRef::steal(PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size())));
    if (!text || PyList_Append(names.get(), text.get()) != 0) return nullptr;
  }
  return names.release();
}

PyMethodDef methods[] = {
    {"call", method(call), METH_FASTCALL | METH_KEYWORDS,
     "call(name: str, *args: object) -> object\n\nCall the Erlang function that is registered as `name` and wait for "
     "its "
     "value.\n\nRaises ErlangError with what the function raised, UnknownFunction (an AttributeError) when nothing is "
     "registered by that name, and what converting an argument or the value raises. Any thread may call."},
    {"system_call", method(system_call), METH_FASTCALL,
     "system_call(name: str, *args: object) -> object\n\nFor the package erlang: what Erlang does for its function of "
     "this name."},
    {"send", method(send), METH_FASTCALL,
     "send(destination: Pid | str | tuple[str, str], message: object) -> None\n\nSend a message to an Erlang process: "
     "a "
     "Pid, the name of a registered process, or a pair of name and node. Does not wait for it to arrive; the messages "
     "of "
     "a thread arrive in order.\n\nRaises ProcessError when there was no such process on this node at the first "
     "message "
     "of the request, or some milliseconds ago; PermissionError when it may not be sent to (pool option send); "
     "TypeError for what is no destination."},
    {"self", method(self), METH_NOARGS,
     "self() -> Pid | None\n\nThe Erlang process that waits for the request that the thread runs or works for; None in "
     "preload code, and in a thread whose request has ended."},
    {"watch_mail", method(watch_mail), METH_O,
     "watch_mail(watch: bool) -> int\n\nFor an event loop whose coroutines wait for Erlang functions: a descriptor "
     "that is "
     "readable when serve_mail() has something to do; -1 for none. False: no longer."},
    {"serve_mail", method(serve_mail), METH_NOARGS,
     "serve_mail() -> None\n\nServe what the functions that coroutines of this thread wait for have asked of Python."},
    {"is_registered", method(is_registered), METH_O,
     "is_registered(name: str) -> bool\n\nWhether Erlang has registered a function."},
    {"functions", method(functions), METH_NOARGS, "functions() -> list[str]\n\nThe names that Erlang has registered."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_callback_functions(PyObject* module) {
  return PyModule_AddFunctions(module, methods) == 0 && add_inbox_type(module) && add_origin_type(module);
}

}  // namespace erlang_python
