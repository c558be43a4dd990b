#include "conversion/conversion_error.h"

namespace erlang_python {
namespace {

constexpr Py_ssize_t kMaxReprLength = 200;

/// PyErr_SetObject would spread a tuple over the arguments of the class, so the instance is made here.
void raise_reason(const PythonTypes& types, PyRef reason) {
  if (!reason) return;
  auto error = PyRef::steal(PyObject_CallOneArg(types.conversion_error.get(), reason.get()));
  if (error) PyErr_SetObject(types.conversion_error.get(), error.get());
}

PyRef short_repr(PyObject* value) {
  auto text = PyRef::steal(PyObject_Repr(value));
  if (!text) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return text;  // KeyboardInterrupt goes on
    PyErr_Clear();
    return PyRef::steal(PyUnicode_FromFormat("<%s object>", Py_TYPE(value)->tp_name));
  }
  if (PyUnicode_GET_LENGTH(text.get()) <= kMaxReprLength) return text;
  auto head = PyRef::steal(PyUnicode_Substring(text.get(), 0, kMaxReprLength));
  if (!head) return head;
  return PyRef::steal(PyUnicode_FromFormat("%U...", head.get()));
}

}  // namespace

void raise_conversion_error(const PythonTypes& types, const char* what) {
  PyErr_Clear();
  raise_reason(types, PyRef::steal(PyUnicode_FromString(what)));
}

void raise_conversion_error(const PythonTypes& types, const char* what, PyObject* value) {
  PyErr_Clear();
  auto text = short_repr(value);
  if (text) raise_reason(types, PyRef::steal(Py_BuildValue("(sO)", what, text.get())));
}

}  // namespace erlang_python
