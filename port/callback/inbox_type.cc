#include "callback/inbox_type.h"

#include <algorithm>
#include <new>
#include <unordered_map>

#include "callback/erlang_module.h"
#include "callback/guest_waiter.h"
#include "python/entry.h"

namespace erlang_python {
namespace {

/// Calls whose answers have not been taken: number, chain.
using Calls = std::unordered_map<std::uint64_t, std::uint64_t>;

struct State {
  const std::shared_ptr<Inbox> inbox = std::make_shared<Inbox>();
  Mutex mu;
  Calls out GUARDED_BY(mu);

  void add(const Asked& call) {
    const MutexLock lock(mu);
    out.emplace(call.id, call.chain);
  }
  /// Its chain; nullopt when it was out no more.
  std::optional<std::uint64_t> remove(std::uint64_t id) {
    const MutexLock lock(mu);
    const auto found = out.find(id);
    if (found == out.end()) return std::nullopt;
    const std::uint64_t chain = found->second;
    out.erase(found);
    return chain;
  }
  bool has_call_of(std::uint64_t chain) {
    const MutexLock lock(mu);
    return std::ranges::any_of(out, [chain](const auto& call) { return call.second == chain; });
  }
  Calls take_all() {
    const MutexLock lock(mu);
    return std::exchange(out, {});
  }
};
struct InboxObject {
  PyObject_HEAD State state;
};

State& state_of(PyObject* self) { return reinterpret_cast<InboxObject*>(self)->state; }

std::optional<Asker> asker_of_type(PyTypeObject* type) {
  PyObject* module = PyType_GetModule(type);
  if (module == nullptr) return std::nullopt;
  return asker_of(module);
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  new (&state_of(self)) State();
  if (state_of(self).inbox->fd() >= 0) return self;
  Py_DECREF(self);
  return PyErr_SetFromErrno(PyExc_OSError);
}

/// The loop that watched it has been closed, or is gone.
void destroy(PyObject* self) noexcept {
  PyTypeObject* type = Py_TYPE(self);
  State& state = state_of(self);
  if (const Calls out = state.take_all(); !out.empty()) {
    const ErlangLink& link = *erlang_module_state(PyType_GetModule(type)).link.load();
    for (const auto& call : out) {
      if (link.callbacks.forget(call.first)) link.calls.abandon(call.first);
    }
    for (const Request& request : state.inbox->take().nested) cancel_nested(link, request);
  }
  state.~State();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* fileno(PyObject* self, PyObject*) noexcept { return PyLong_FromLong(state_of(self).inbox->fd()); }

PyObject* call(PyObject* self, PyTypeObject* type, PyObject* const* args, ArgumentCount count, PyObject*) noexcept {
  if (count < 1) {
    PyErr_SetString(PyExc_TypeError, "call() takes the name of an Erlang function, and its arguments");
    return nullptr;
  }
  const auto asker = asker_of_type(type);
  const auto callee = registered_function(args[0]);
  if (!asker || !callee) return nullptr;
  const Asked asked = ask_later(*asker, *callee, args + 1, static_cast<std::size_t>(count) - 1, state_of(self).inbox);
  if (asked.id == 0) return nullptr;
  state_of(self).add(asked);
  return PyLong_FromUnsignedLongLong(asked.id);
}

/// The value of an answer, or the exception that it stands for, with a flag that says which; null with an error set
/// when not even that can be had.
PyRef outcome(const Asker& asker, std::uint64_t id, const Answer& answer) {
  auto name = PyRef::borrow(Py_None);
  auto value = read_answer(answer, asker.types, {name.get(), std::nullopt});
  const bool ok = static_cast<bool>(value);
  if (!ok) value = PyRef::steal(PyErr_GetRaisedException());
  return PyRef::steal(Py_BuildValue("KOO", static_cast<unsigned long long>(id), ok ? Py_True : Py_False, value.get()));
}

PyObject* take(PyObject* self, PyTypeObject* type, PyObject* const*, ArgumentCount, PyObject*) noexcept {
  const auto asker = asker_of_type(type);
  auto answers = PyRef::steal(PyList_New(0));
  if (!asker || !answers) return nullptr;
  const Inbox::Mail mail = state_of(self).inbox->take();
  for (const Request& request : mail.nested) serve_nested(*asker, request);
  for (const auto& [id, answer] : mail.answers) {
    static_cast<void>(state_of(self).remove(id));
    auto entry = outcome(*asker, id, answer);
    if (!entry || PyList_Append(answers.get(), entry.get()) != 0) return nullptr;
  }
  return answers.release();
}

PyObject* forget(PyObject* self, PyTypeObject* type, PyObject* const* args, ArgumentCount count, PyObject*) noexcept {
  const auto asker = asker_of_type(type);
  if (!asker) return nullptr;
  const unsigned long long id = count == 1 ? PyLong_AsUnsignedLongLong(args[0]) : 0;
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (asker->link.callbacks.forget(id)) asker->link.calls.abandon(id);
  State& state = state_of(self);
  const auto chain = state.remove(id);
  // What its function has asked for and is still here, unless another call of the chain may have.
  if (chain && state.inbox->has_nested() && !state.has_call_of(*chain)) {
    for (const Request& request : state.inbox->take_nested(*chain)) cancel_nested(asker->link, request);
  }
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"fileno", method(fileno), METH_NOARGS, "fileno() -> int\n\nReadable while take() has something to give."},
    {"call", method(call), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "call(name: str, *args: object) -> int\n\nCall an Erlang function without waiting; the number of the call."},
    {"take", method(take), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "take() -> list[tuple[int, bool, object]]\n\nThe answers that have come: number of the call, True and the value, "
     "or False and the exception. Serves first what the functions have asked of Python."},
    {"forget", method(forget), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "forget(call: int) -> None\n\nNobody waits for this call any more: its Erlang process is ended, and what that has "
     "asked of Python and nobody has begun is cancelled."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Inbox()\n\nAnswers to calls of Erlang functions that an event loop waits for.")},
    {Py_tp_new, slot(make)},
    {Py_tp_dealloc, slot(destroy)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"_erlang.Inbox", sizeof(InboxObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

bool add_inbox_type(PyObject* module) {
  auto type = PyRef::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddObjectRef(module, "Inbox", type.get()) == 0;
}

std::optional<Asker> asker_of(PyObject* module) {
  const ErlangModule& state = erlang_module_state(module);
  const ErlangLink* const link = state.link;
  const PythonTypes* const types = state.types;
  if (link != nullptr && types != nullptr) {
    return Asker{*link, *types, state.context, scope_now(module)};
  }
  PyErr_SetString(PyExc_RuntimeError, "Erlang cannot be called while the package erlang is being loaded");
  return std::nullopt;
}

}  // namespace erlang_python
