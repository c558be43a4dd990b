// Whatever the bytes are, decode_term() answers with a value or an error; the value can be encoded or is an error that
// says why not, and from then on it goes there and back unchanged.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "conversion/decode.h"
#include "conversion/encode.h"

using namespace erlang_python;

namespace {

void require(bool fact, const char* what) {
  if (fact) return;
  std::fprintf(stderr, "not so: %s\n", what);
  if (PyErr_Occurred() != nullptr) PyErr_Print();
  std::abort();
}

struct NobodyListens : AtomAnnouncer {
  void announce(std::string_view /*utf8_name*/) override {}
};

std::unique_ptr<PythonTypes> start_python() {
  const char* path = std::getenv("ERLANG_PYTHON_PACKAGE_PATH");
  require(path != nullptr, "ERLANG_PYTHON_PACKAGE_PATH names the directory of the package erlang");
  Py_InitializeEx(0);
  auto text = PyRef::steal(PyUnicode_DecodeFSDefault(path));
  PyObject* paths = PySys_GetObject("path");
  require(text && paths != nullptr && PyList_Insert(paths, 0, text.get()) == 0, "sys.path takes the package");
  auto types = PythonTypes::load();
  require(types != nullptr, "the package is as expected");
  return types;
}

PyRef decode(Bytes bytes, const PythonTypes& types) {
  TermReader reader(bytes);
  auto value = decode_term(reader, types);
  require(static_cast<bool>(value) == (PyErr_Occurred() == nullptr), "a value or an error");
  return value;
}

bool encode(const PyRef& value, TermWriter& out, const PythonTypes& types) {
  NobodyListens atoms;
  const bool done = encode_term(value.get(), out, {}, types, atoms);
  require(done == (PyErr_Occurred() == nullptr), "done or an error");
  return done;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never destroyed: Python is not finalised either.
  static const PythonTypes& types = *start_python().release();
  const auto value = decode(Bytes(data, size), types);
  if (!value) {
    PyErr_Clear();
    return 0;
  }
  TermReader skipper(Bytes(data, size));
  require(skipper.skip().has_value(), "what can be decoded can be skipped");

  TermWriter first;
  if (!encode(value, first, types)) {
    PyErr_Clear();
    return 0;
  }
  const auto again = decode(first.bytes(), types);
  require(static_cast<bool>(again), "what was encoded can be decoded");
  // Bytes are compared, not values: `{bytes, <<"a">>}` is b"a" at first, and then the text "a".
  TermWriter second;
  require(encode(again, second, types), "and encoded again");
  require(std::ranges::equal(first.bytes(), second.bytes()), "and is the same");
  return 0;
}
