#include "python/fresh_stack.h"

namespace erlang_python {
namespace {

/// Null without an error when nobody has imported asyncio.
PyRef loaded_asyncio() {
  auto name = PyRef::steal(PyUnicode_InternFromString("_asyncio"));
  auto module = name ? PyRef::steal(PyImport_GetModule(name.get())) : PyRef();
  if (!module) PyErr_Clear();
  return module;
}

// From Python 3.14 on the current task belongs to the thread, before to its loop: a task of another loop cannot begin
// while there is one.
constexpr bool kTaskOfThread = PY_VERSION_HEX >= 0x030E0000;

/// Of the running loop; the task that was the current one, None when there was none.
PyRef swap_current_task(PyObject* asyncio, PyObject* loop, PyObject* task) {
  auto previous = PyRef::steal(PyObject_CallMethod(asyncio, "_swap_current_task", "OO", loop, task));
  if (!previous) PyErr_Clear();
  return previous;
}

void set_running_loop(PyObject* asyncio, PyObject* loop) {
  if (!PyRef::steal(PyObject_CallMethod(asyncio, "_set_running_loop", "O", loop))) PyErr_Clear();
}

}  // namespace

FreshStack::FreshStack(bool hide_loop)
    : state_(PyThreadState_Get()),
      remaining_(state_->py_recursion_remaining),
      handled_(PyRef::steal(PyErr_GetHandledException())) {
  state_->py_recursion_remaining = state_->py_recursion_limit;
  if (handled_) PyErr_SetHandledException(nullptr);
  if (!hide_loop) return;
  auto asyncio = loaded_asyncio();
  if (!asyncio) return;
  loop_ = PyRef::steal(PyObject_CallMethod(asyncio.get(), "_get_running_loop", nullptr));
  if (!loop_) PyErr_Clear();
  if (!loop_ || loop_.get() == Py_None) return;
  if (kTaskOfThread) task_ = swap_current_task(asyncio.get(), loop_.get(), Py_None);
  set_running_loop(asyncio.get(), Py_None);
  asyncio_ = std::move(asyncio);
}

FreshStack::~FreshStack() {
  if (asyncio_) {
    set_running_loop(asyncio_.get(), loop_.get());
    if (task_) static_cast<void>(swap_current_task(asyncio_.get(), loop_.get(), task_.get()));
  }
  if (handled_) PyErr_SetHandledException(handled_.get());
  state_->py_recursion_remaining = remaining_;
}

}  // namespace erlang_python
