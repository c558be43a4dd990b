#include "context/steps_type.h"

#include "callback/erlang_module.h"
#include "context/ticket_type.h"
#include "python/entry.h"

namespace erlang_python {
namespace {

struct StepsObject {
  PyObject_HEAD PyObject* ticket;
  PyObject* coroutine;
};

StepsObject& steps_of(PyObject* self) { return *reinterpret_cast<StepsObject*>(self); }

/// While it lives, a step is taken.
class Step {
 public:
  explicit Step(PyObject* self)
      : ticket_(ticket_of_object(steps_of(self).ticket)),
        streams_(erlang_module_state(PyType_GetModule(Py_TYPE(self))).streams) {
    ticket_->streams.begin(streams_, ticket_->in_request);
  }
  ~Step() {
    PyObject* const raised = PyErr_GetRaisedException();
    ticket_->streams.end(streams_, !ticket_->answered);
    if (raised != nullptr) PyErr_SetRaisedException(raised);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  const std::shared_ptr<Ticket> ticket_;
  StandardStreams& streams_;
};

PySendResult next(PyObject* self, PyObject* value, PyObject** result) noexcept {
  const Step step(self);
  return PyIter_Send(steps_of(self).coroutine, value, result);
}

PyObject* call(PyObject* self, const char* name, PyObject* argument) {
  const auto method_name = PyRef::steal(PyUnicode_InternFromString(name));
  if (!method_name) return nullptr;
  const Step step(self);
  return argument != nullptr ? PyObject_CallMethodOneArg(steps_of(self).coroutine, method_name.get(), argument)
                             : PyObject_CallMethodNoArgs(steps_of(self).coroutine, method_name.get());
}

PyObject* send(PyObject* self, PyObject* value) noexcept { return call(self, "send", value); }
PyObject* raise(PyObject* self, PyObject* exception) noexcept { return call(self, "throw", exception); }
PyObject* close(PyObject* self, PyObject*) noexcept { return call(self, "close", nullptr); }
PyObject* await(PyObject* self) noexcept { return PyObject_CallMethod(steps_of(self).coroutine, "__await__", nullptr); }

/// What asyncio shows of a task is what its coroutine is.
PyObject* attribute(PyObject* self, PyObject* name) noexcept {
  PyObject* const own = PyObject_GenericGetAttr(self, name);
  if (own != nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return own;
  PyErr_Clear();
  return PyObject_GetAttr(steps_of(self).coroutine, name);
}

/// A cycle leads through a task or a frame, which can be cleared.
int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(steps_of(self).ticket);
  Py_VISIT(steps_of(self).coroutine);
  return 0;
}

void destroy(PyObject* self) noexcept {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_XDECREF(steps_of(self).coroutine);
  Py_XDECREF(steps_of(self).ticket);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"send", method(send), METH_O, "send(value) -> object\n\nAs of a coroutine."},
    {"throw", method(raise), METH_O, "throw(exception) -> object\n\nAs of a coroutine."},
    {"close", method(close), METH_NOARGS, "close() -> None\n\nAs of a coroutine."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A coroutine whose steps are those of a request.")},
    {Py_tp_dealloc, slot(destroy)},
    {Py_tp_traverse, slot(traverse)},
    {Py_tp_getattro, slot(attribute)},
    {Py_tp_methods, methods},
    {Py_am_await, slot(await)},
    {Py_am_send, slot(next)},
    {0, nullptr},
};

PyType_Spec spec = {
    "_erlang.Steps", sizeof(StepsObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

bool add_steps_type(PyObject* module) {
  auto type = PyRef::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  if (!type || PyModule_AddObjectRef(module, "Steps", type.get()) != 0) return false;
  erlang_module_state(module).steps_type = type.release();
  return true;
}

PyRef make_steps(PyObject* module, PyObject* ticket, PyObject* coroutine) {
  auto* const type = reinterpret_cast<PyTypeObject*>(erlang_module_state(module).steps_type);
  auto made = PyRef::steal(type->tp_alloc(type, 0));
  if (!made) return made;
  steps_of(made.get()).ticket = Py_NewRef(ticket);
  steps_of(made.get()).coroutine = Py_NewRef(coroutine);
  return made;
}

}  // namespace erlang_python
