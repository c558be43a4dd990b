#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conversion/decode.h"
#include "conversion/python_types.h"
#include "etf/term_reader.h"

namespace erlang_python {

/// Where names of `__main__` are looked up, first to last. Borrowed dicts.
struct Namespaces {
  PyObject* own;     ///< that of the caller; the shared one when it has none
  PyObject* shared;  ///< of the context
};

/// Runs the bodies of CALL, EVAL and EXEC. One per context; use only on its thread, attached.
class Calling {
 public:
  explicit Calling(const PythonTypes& types) : types_(types) {}
  Calling(const Calling&) = delete;
  Calling& operator=(const Calling&) = delete;

  const PythonTypes& types() const { return types_; }

  // Each reads the rest of the request's terms and returns the result; null with a Python error set.
  PyRef call(TermReader& body, const Namespaces& namespaces);
  PyRef eval(TermReader& body, PyObject* globals);
  PyRef exec(TermReader& body, PyObject* globals);

  /// Runs statements. `kind` says in tracebacks what they are. Null with a Python error set.
  PyRef run(std::string_view code, const char* kind, PyObject* globals);

 private:
  /// Views into a frame and pointers hash alike.
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <typename T>
  using ByText = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

  struct Name {
    PyRef text;    ///< an interned str
    PyRef module;  ///< of this name, when one was seen fully imported
  };
  /// Valid until the next call. Null with a Python error set.
  Name* name(std::string_view text);
  PyRef module(std::string_view text);
  PyRef function(std::string_view module_text, std::string_view function_text, const Namespaces& namespaces);
  PyRef attribute(PyObject* object, std::string_view dotted);
  /// A function that calls its first argument with the others, in a frame whose globals are `globals`.
  PyRef framed(PyObject* globals);
  PyRef compile_expression(std::string_view code);

  const PythonTypes& types_;
  ByText<Name> names_;
  ByText<PyRef> compiled_;            ///< code of expressions
  std::vector<PyObject*> arguments_;  ///< scratch of call(); empty between calls, moved out during one
};

}  // namespace erlang_python
