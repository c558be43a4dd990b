#include "conversion/python_types.h"

namespace erlang_python {
namespace {

/// Fills `slot` with an attribute; false with an error set when it is missing.
bool look_up(PyRef& slot, const PyRef& owner, const char* name) {
  slot = PyRef::steal(PyObject_GetAttrString(owner.get(), name));
  return static_cast<bool>(slot);
}

bool must_be_class(const PyRef& object, const char* name) {
  if (PyType_Check(object.get())) return true;
  PyErr_Format(PyExc_TypeError, "the Python package erlang is damaged: %s is not a class", name);
  return false;
}

}  // namespace

int PythonTypes::traverse(visitproc visit, void* arg) const {
  for (const PyRef* each :
       {&atom, &pid, &reference, &term, &conversion_error, &erlang_error, &unknown_function, &process_error, &scheduled,
        &scheduled_inline, &encoders, &fallback, &int_from_bytes, &etf_name}) {
    Py_VISIT(each->get());
  }
  return 0;
}

std::unique_ptr<PythonTypes> PythonTypes::load() {
  auto package = PyRef::steal(PyImport_ImportModule("erlang"));
  if (!package) return nullptr;
  auto encoding = PyRef::steal(PyImport_ImportModule("erlang._encoding"));
  if (!encoding) return nullptr;
  auto schedule = PyRef::steal(PyImport_ImportModule("erlang._schedule"));
  if (!schedule) return nullptr;

  auto types = std::make_unique<PythonTypes>();
  const auto integer = PyRef::borrow(reinterpret_cast<PyObject*>(&PyLong_Type));
  if (!look_up(types->atom, package, "Atom") || !look_up(types->pid, package, "Pid") ||
      !look_up(types->reference, package, "Ref") || !look_up(types->term, package, "Term") ||
      !look_up(types->conversion_error, package, "ConversionError") ||
      !look_up(types->erlang_error, package, "ErlangError") ||
      !look_up(types->unknown_function, package, "UnknownFunction") ||
      !look_up(types->process_error, package, "ProcessError") ||
      !look_up(types->scheduled, schedule, "ScheduleMarker") ||
      !look_up(types->scheduled_inline, schedule, "InlineScheduleMarker") ||
      !look_up(types->encoders, encoding, "encoders") || !look_up(types->fallback, encoding, "fallback") ||
      !look_up(types->int_from_bytes, integer, "from_bytes")) {
    return nullptr;
  }
  types->etf_name = PyRef::steal(PyUnicode_InternFromString("etf"));
  if (!types->etf_name) return nullptr;
  if (!must_be_class(types->atom, "Atom") || !must_be_class(types->pid, "Pid") ||
      !must_be_class(types->reference, "Ref") || !must_be_class(types->term, "Term") ||
      !must_be_class(types->conversion_error, "ConversionError") ||
      !must_be_class(types->erlang_error, "ErlangError") ||
      !must_be_class(types->unknown_function, "UnknownFunction") ||
      !must_be_class(types->process_error, "ProcessError") || !must_be_class(types->scheduled, "ScheduleMarker") ||
      !must_be_class(types->scheduled_inline, "InlineScheduleMarker")) {
    return nullptr;
  }
  if (!PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(types->atom.get()), &PyUnicode_Type) ||
      !PyDict_CheckExact(types->encoders.get())) {
    PyErr_SetString(PyExc_TypeError, "the Python package erlang is damaged: Atom is not a str or encoders not a dict");
    return nullptr;
  }
  return types;
}

}  // namespace erlang_python
