#include "python/standing_thread.h"

#include <string_view>

#include "python/py_ref.h"

namespace erlang_python {
namespace {

/// Calls `look(file, name)` for each frame, from the innermost on, until it is true. False: it never was.
template <typename Look>
bool any_frame(PyThreadState* thread, Look look) {
  auto frame = PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
  while (frame) {
    auto* const of = reinterpret_cast<PyFrameObject*>(frame.get());
    const auto code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(of)));
    const auto* const from = reinterpret_cast<PyCodeObject*>(code.get());
    if (look(from->co_filename, from->co_name)) return true;
    frame = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(of)));
  }
  return false;
}

bool is_text(PyObject* text, const char* expected) { return PyUnicode_CompareWithASCIIString(text, expected) == 0; }

bool is_of_threading(PyObject* file) {
  constexpr std::string_view kFile = "/threading.py";
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(file, &size);
  if (text == nullptr) PyErr_Clear();
  return text != nullptr && std::string_view(text, static_cast<std::size_t>(size)).ends_with(kFile);
}

}  // namespace

bool is_importing(PyThreadState* thread) {
  return any_frame(thread, [](PyObject* file, PyObject*) { return is_text(file, "<frozen importlib._bootstrap>"); });
}

bool is_starting_or_ending(PyThreadState* thread) {
  bool starts = true;  // no frame yet
  any_frame(thread, [&starts](PyObject* file, PyObject* name) {
    if (is_text(name, "_bootstrap_inner") || is_text(name, "_bootstrap")) return true;
    starts = is_of_threading(file) && !is_text(name, "run");
    return !starts;
  });
  return starts;
}

}  // namespace erlang_python
