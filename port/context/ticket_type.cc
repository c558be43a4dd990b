#include "context/ticket_type.h"

#include <new>

#include "callback/erlang_module.h"
#include "context/steps_type.h"
#include "context/tasks.h"
#include "python/entry.h"

namespace erlang_python {
namespace {

struct TicketObject {
  PyObject_HEAD std::shared_ptr<Ticket> ticket;
};

Ticket& ticket_of(PyObject* self) { return *reinterpret_cast<TicketObject*>(self)->ticket; }

void destroy(PyObject* self) noexcept {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<TicketObject*>(self)->ticket.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

/// Null with RuntimeError set: the context has stopped.
std::shared_ptr<Tasks> tasks_of(PyObject* self) {
  auto tasks = ticket_of(self).tasks.lock();
  if (!tasks) PyErr_SetString(PyExc_RuntimeError, "the context of this request has stopped");
  return tasks;
}

PyObject* finish(PyObject* self, PyObject* value) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  tasks->finish(ticket_of(self), value);
  Py_RETURN_NONE;
}

PyObject* fail(PyObject* self, PyObject* exception) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  tasks->fail(ticket_of(self), exception);
  Py_RETURN_NONE;
}

PyObject* end(PyObject* self, PyObject*) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  tasks->end_stream(ticket_of(self));
  Py_RETURN_NONE;
}

PyObject* item(PyObject* self, PyObject* value) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks || !tasks->send_item(ticket_of(self), value)) return nullptr;
  return PyBool_FromLong(ticket_of(self).has_credit() ? 1 : 0);
}

PyObject* pump(PyObject* self, PyObject* iterator) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  const auto pumped = tasks->pump(ticket_of(self), iterator);
  if (!pumped) return nullptr;
  return PyLong_FromLong(static_cast<long>(*pumped));
}

PyObject* want_credit(PyObject* self, PyObject*) noexcept {
  Ticket& ticket = ticket_of(self);
  ticket.waits_for_credit = !ticket.has_credit();
  return PyBool_FromLong(ticket.waits_for_credit ? 1 : 0);
}

PyObject* expire(PyObject* self, PyObject*) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  tasks->note_late(ticket_of(self));
  Py_RETURN_NONE;
}

PyObject* cancel(PyObject* self, PyObject*) noexcept {
  const auto tasks = tasks_of(self);
  if (!tasks) return nullptr;
  tasks->note_told(ticket_of(self), Interruption::kCancelled);
  Py_RETURN_NONE;
}

PyObject* steps(PyObject* self, PyObject* coroutine) noexcept {
  return make_steps(PyType_GetModule(Py_TYPE(self)), self, coroutine).release();
}

PyObject* redirects(PyObject* self, PyObject*) noexcept {
  StandardStreams& streams = erlang_module_state(PyType_GetModule(Py_TYPE(self))).streams;
  return PyBool_FromLong(ticket_of(self).streams.redirects(streams) ? 1 : 0);
}

PyMethodDef methods[] = {
    {"finish", method(finish), METH_O, "finish(value) -> None\n\nThe coroutine has returned this value."},
    {"fail", method(fail), METH_O, "fail(exception) -> None\n\nThe coroutine or stream has raised this exception."},
    {"end", method(end), METH_NOARGS, "end() -> None\n\nThe stream has no more items."},
    {"item", method(item), METH_O,
     "item(value) -> bool\n\nSend an item of the stream. False: there is no more credit."},
    {"pump", method(pump), METH_O,
     "pump(iterator) -> int\n\nSend items of an iterator for about a millisecond. 0: there are more, 1: there is no "
     "more "
     "credit, 2: the iterator has ended."},
    {"want_credit", method(want_credit), METH_NOARGS,
     "want_credit() -> bool\n\nTrue: there is none now, and erlang._tasks.credited() will be called when there is."},
    {"cancel", method(cancel), METH_NOARGS,
     "cancel() -> None\n\nIt was cancelled: what fails from now on fails for it."},
    {"expire", method(expire), METH_NOARGS,
     "expire() -> None\n\nThe timeout has passed: what fails from now on fails for it."},
    {"steps", method(steps), METH_O,
     "steps(coroutine) -> Steps\n\nThe same coroutine, with the standard streams of this request in each of its "
     "steps."},
    {"redirects", method(redirects), METH_NOARGS,
     "redirects() -> bool\n\nThe step that runs has put something in the place of a standard stream."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A request that goes on on the event loop of its context.")},
    {Py_tp_dealloc, slot(destroy)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"_erlang.Ticket", sizeof(TicketObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

bool add_ticket_type(PyObject* module) {
  auto type = PyRef::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  auto scope = PyRef::steal(PyContextVar_New("erlang_scope", nullptr));
  if (!type || !scope || PyModule_AddObjectRef(module, "Ticket", type.get()) != 0 ||
      PyModule_AddObjectRef(module, "scope", scope.get()) != 0) {
    return false;
  }
  ErlangModule& state = erlang_module_state(module);
  state.ticket_type = type.release();
  state.scope_variable = scope.release();
  return true;
}

PyRef make_ticket_object(std::shared_ptr<Ticket> ticket) {
  auto module = PyRef::steal(PyImport_ImportModule("_erlang"));
  if (!module) return {};
  auto* type = reinterpret_cast<PyTypeObject*>(erlang_module_state(module.get()).ticket_type);
  auto object = PyRef::steal(type->tp_alloc(type, 0));
  if (object) new (&reinterpret_cast<TicketObject*>(object.get())->ticket) std::shared_ptr<Ticket>(std::move(ticket));
  return object;
}

std::shared_ptr<Ticket> ticket_of_object(PyObject* object) { return reinterpret_cast<TicketObject*>(object)->ticket; }

std::shared_ptr<Ticket> ticket_in(PyObject* module, PyObject* context) {
  const ErlangModule& state = erlang_module_state(module);
  if (context == nullptr || state.scope_variable == nullptr) return nullptr;
  const auto object = PyRef::steal(PyObject_GetItem(context, state.scope_variable));
  if (!object) PyErr_Clear();
  if (!object || reinterpret_cast<PyObject*>(Py_TYPE(object.get())) != state.ticket_type) return nullptr;
  return ticket_of_object(object.get());
}

Ticket* current_ticket(PyObject* module) {
  const ErlangModule& state = erlang_module_state(module);
  PyObject* found = nullptr;
  if (state.scope_variable == nullptr || PyContextVar_Get(state.scope_variable, nullptr, &found) != 0) {
    PyErr_Clear();
    return nullptr;
  }
  const auto object = PyRef::steal(found);
  const bool is_ticket = object && reinterpret_cast<PyObject*>(Py_TYPE(object.get())) == state.ticket_type;
  return is_ticket ? &ticket_of(object.get()) : nullptr;  // the variable keeps it alive
}

}  // namespace erlang_python
