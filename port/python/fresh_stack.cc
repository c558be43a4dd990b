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
  set_running_loop(asyncio.get(), Py_None);
  asyncio_ = std::move(asyncio);
}

FreshStack::~FreshStack() {
  if (asyncio_) set_running_loop(asyncio_.get(), loop_.get());
  if (handled_) PyErr_SetHandledException(handled_.get());
  state_->py_recursion_remaining = remaining_;
}

}  // namespace erlang_python
