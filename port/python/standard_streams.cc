#include "python/standard_streams.h"

namespace erlang_python {

bool StandardStreams::keep() {
  if (variables_) return true;
  const auto sys = PyRef::steal(PyImport_ImportModule("sys"));
  PyObject* const variables = sys ? PyModule_GetDict(sys.get()) : nullptr;
  if (variables == nullptr) return false;
  const std::array names{"stdin", "stdout", "stderr"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto name = PyRef::steal(PyUnicode_InternFromString(names.at(i)));
    auto file = PyRef::borrow(name ? PyDict_GetItemWithError(variables, name.get()) : nullptr);
    if (!file) return PyErr_Occurred() == nullptr;  // Python runs without it
    streams_.at(i) = {std::move(name), std::move(file)};
  }
  variables_ = PyRef::borrow(variables);
  return true;
}

void StandardStreams::renew() {
  if (!variables_) return;
  for (const Stream& stream : streams_) {
    if (PyDict_GetItemWithError(variables_.get(), stream.name.get()) == stream.file.get()) continue;
    PyErr_Clear();
    // What was there may run Python code when it goes.
    if (PyDict_SetItem(variables_.get(), stream.name.get(), stream.file.get()) != 0) PyErr_Clear();
  }
}

}  // namespace erlang_python
