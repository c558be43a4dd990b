#include "python/variables.h"

namespace erlang_python {

bool FirstVariables::keep(PyObject* variables) {
  auto library = PyRef::steal(PyImport_ImportModule("erlang._variables"));
  kept_ = PyRef::steal(PyContext_Copy(variables));
  if (!library || !kept_) return false;
  changeable_ = PyRef::steal(PyObject_CallMethod(library.get(), "changeable", "O", kept_.get()));
  if (!changeable_) return false;
  if (PyList_GET_SIZE(changeable_.get()) == 0) changeable_ = PyRef();
  return true;
}

PyRef FirstVariables::make() const {
  auto made = PyRef::steal(PyContext_Copy(kept_.get()));
  if (!made || !changeable_) return made;
  if (PyContext_Enter(made.get()) != 0) return {};
  bool set = true;
  for (Py_ssize_t i = 0; set && i < PyList_GET_SIZE(changeable_.get()); ++i) {
    PyObject* const pair = PyList_GET_ITEM(changeable_.get(), i);
    auto value = PyRef::steal(PyObject_CallMethod(PyTuple_GET_ITEM(pair, 1), "copy", nullptr));
    set = value && PyRef::steal(PyContextVar_Set(PyTuple_GET_ITEM(pair, 0), value.get()));
  }
  PyContext_Exit(made.get());
  return set ? std::move(made) : PyRef();
}

}  // namespace erlang_python
