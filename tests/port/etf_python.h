#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "conversion/decode.h"
#include "conversion/encode.h"
#include "etf_samples.h"

namespace erlang_python {

/// The Python that the conversion tests run in: one for the whole program, never finalised, as in the port program.
class TestPython {
 public:
  static TestPython& get() {
    static TestPython python;
    return python;
  }

  const PythonTypes& types() const { return *types_; }

  /// Runs statements in the namespace that the expressions see.
  void exec(const char* code) { REQUIRE(run(code, Py_file_input)); }
  PyRef eval(const std::string& expression) {
    auto value = run(expression.c_str(), Py_eval_input);
    REQUIRE_MESSAGE(value, expression);
    return value;
  }

  /// What an error that is set says, as `Type: str(error)`; clears it. Empty if there is none.
  std::string take_error() {
    auto error = PyRef::steal(PyErr_GetRaisedException());
    if (!error) return "";
    auto text = PyRef::steal(PyObject_Str(error.get()));
    auto reason = PyRef::steal(PyObject_GetAttrString(error.get(), "reason"));
    if (reason) text = PyRef::steal(PyObject_Repr(reason.get()));
    PyErr_Clear();
    return std::string(Py_TYPE(error.get())->tp_name) + ": " + PyUnicode_AsUTF8(text.get());
  }

  bool equal(const PyRef& left, const PyRef& right) {
    const int same = PyObject_RichCompareBool(left.get(), right.get(), Py_EQ);
    return same == 1 && Py_TYPE(left.get()) == Py_TYPE(right.get());
  }

 private:
  TestPython() {
    const char* path = std::getenv("ERLANG_PYTHON_PACKAGE_PATH");
    if (path == nullptr) {
      std::fputs("ERLANG_PYTHON_PACKAGE_PATH must name the directory that holds the package erlang\n", stderr);
      std::_Exit(2);
    }
    Py_InitializeEx(0);
    auto text = PyRef::steal(PyUnicode_DecodeFSDefault(path));
    PyObject* paths = PySys_GetObject("path");
    if (paths == nullptr || PyList_Insert(paths, 0, text.get()) < 0 || !(types_ = PythonTypes::load())) {
      PyErr_Print();
      std::_Exit(2);
    }
    exec("import erlang");
  }

  PyRef run(const char* code, int start) {
    PyObject* space = PyModule_GetDict(PyImport_AddModule("__main__"));
    auto value = PyRef::steal(PyRun_String(code, start, space, space));
    if (!value) PyErr_Print();
    return value;
  }

  std::unique_ptr<PythonTypes> types_;
};

/// Keeps the names it is told.
struct AnnouncedAtoms : AtomAnnouncer {
  void announce(std::string_view name) override { names.emplace_back(name); }
  std::vector<std::string> names;
};

struct Encoded {
  Buffer bytes;
  std::string error;
  std::vector<std::string> atoms;
};

inline Encoded encode(const PyRef& value, EncodeOptions options = {}) {
  auto& python = TestPython::get();
  TermWriter out;
  AnnouncedAtoms atoms;
  const bool done = encode_term(value.get(), out, options, python.types(), atoms);
  CHECK(done == (PyErr_Occurred() == nullptr));
  return {Buffer(out.bytes().begin(), out.bytes().end()), python.take_error(), atoms.names};
}

inline Encoded encode(const char* expression, EncodeOptions options = {}) {
  return encode(TestPython::get().eval(expression), options);
}

/// Encodes, decodes again, and compares type and value with what another expression gives.
inline void check_arrives(const std::string& expression, const std::string& expected, EncodeOptions options = {}) {
  CAPTURE(expression);
  auto& python = TestPython::get();
  const auto encoded = encode(python.eval(expression), options);
  REQUIRE(encoded.error.empty());
  const ExactCopy copy{Bytes(encoded.bytes)};
  TermReader reader(copy.bytes());
  auto decoded = decode_term(reader, python.types());
  REQUIRE_MESSAGE(decoded, python.take_error());
  CHECK(reader.at_end());
  auto wanted = python.eval(expected);
  auto shown = PyRef::steal(PyObject_Repr(decoded.get()));
  CAPTURE(PyUnicode_AsUTF8(shown.get()));
  CHECK(python.equal(decoded, wanted));
}

/// The repr of what bytes decode to, or the error as `Type: text`.
inline std::string decoded_repr(const Buffer& bytes) {
  auto& python = TestPython::get();
  const ExactCopy copy{Bytes(bytes)};
  TermReader reader(copy.bytes());
  auto value = decode_term(reader, python.types());
  if (!value) return python.take_error();
  auto shown = PyRef::steal(PyObject_Repr(value.get()));
  return shown ? PyUnicode_AsUTF8(shown.get()) : python.take_error();
}

}  // namespace erlang_python
