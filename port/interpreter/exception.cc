#include "interpreter/exception.h"

#include <string_view>

namespace erlang_python {
namespace {

constexpr std::string_view kSubinterpreterRemedy =
    " (extension modules without support for subinterpreters cannot be used in a context of mode owngil: start the "
    "pool "
    "or context with mode => worker, or with mode => worker and isolation => context for parallel work)";

/// The UTF-8 text of a str, with what UTF-8 cannot hold replaced.
std::string utf8_of(PyObject* text) {
  auto bytes = PyRef::steal(PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  if (!bytes) {
    PyErr_Clear();
    return "<unprintable>";
  }
  return {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

std::string text_of(PyObject* value) {
  auto text = PyRef::steal(PyObject_Str(value));
  if (!text) {
    PyErr_Clear();
    return "<exception str() failed>";
  }
  return utf8_of(text.get());
}

std::string class_name_of(PyObject* exception) {
  auto name = PyRef::steal(PyType_GetName(Py_TYPE(exception)));
  if (!name) {
    PyErr_Clear();
    return "Exception";
  }
  return utf8_of(name.get());
}

bool refuses_subinterpreters(PyObject* exception, std::string_view message) {
  if (PyErr_GivenExceptionMatches(exception, PyExc_ImportError) == 0) return false;
  return message.find("subinterpreter") != std::string_view::npos ||
         message.find("sub-interpreter") != std::string_view::npos ||
         message.find("once per process") != std::string_view::npos;
}

/// The message of an ImportError that an extension's refusal caused may be the package's own: look at the causes too.
bool caused_by_refusal(PyObject* exception) {
  auto current = PyRef::borrow(exception);
  for (int depth = 0; current && depth < 8; ++depth) {
    if (refuses_subinterpreters(current.get(), text_of(current.get()))) return true;
    auto cause = PyRef::steal(PyException_GetCause(current.get()));
    if (!cause) cause = PyRef::steal(PyException_GetContext(current.get()));
    current = std::move(cause);
  }
  return false;
}

std::string traceback_of(PyObject* exception) {
  auto module = PyRef::steal(PyImport_ImportModule("traceback"));
  if (!module) {
    PyErr_Clear();
    return "";
  }
  auto lines = PyRef::steal(PyObject_CallMethod(module.get(), "format_exception", "O", exception));
  auto empty = PyRef::steal(PyUnicode_FromString(""));
  PyRef joined;
  if (lines && empty) joined = PyRef::steal(PyUnicode_Join(empty.get(), lines.get()));
  if (!joined) {
    PyErr_Clear();
    return "";
  }
  return utf8_of(joined.get());
}

void write_text_atom(TermWriter& out, PyObject* text) { out.atom(utf8_of(text)); }

/// `reason` of a ConversionError: a str, or a pair of str (docs/protocol.md).
bool write_not_encodable(TermWriter& out, PyObject* exception) {
  auto reason = PyRef::steal(PyObject_GetAttrString(exception, "reason"));
  if (!reason) {
    PyErr_Clear();
    return false;
  }
  const bool pair = PyTuple_Check(reason.get()) && PyTuple_GET_SIZE(reason.get()) == 2 &&
                    PyUnicode_Check(PyTuple_GET_ITEM(reason.get(), 0)) &&
                    PyUnicode_Check(PyTuple_GET_ITEM(reason.get(), 1));
  if (!pair && !PyUnicode_Check(reason.get())) return false;
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom("not_encodable");
  if (pair) {
    out.tuple_header(2);
    write_text_atom(out, PyTuple_GET_ITEM(reason.get(), 0));
    out.binary(utf8_of(PyTuple_GET_ITEM(reason.get(), 1)));
  } else {
    write_text_atom(out, reason.get());
  }
  return true;
}

}  // namespace

void write_exception(TermWriter& out, const PythonTypes& types, bool traceback, bool subinterpreter) {
  auto exception = PyRef::steal(PyErr_GetRaisedException());
  if (!exception) return;
  if (reinterpret_cast<PyObject*>(Py_TYPE(exception.get())) == types.conversion_error.get() &&
      write_not_encodable(out, exception.get())) {
    return;
  }
  std::string message = text_of(exception.get());
  if (subinterpreter && caused_by_refusal(exception.get())) message += kSubinterpreterRemedy;
  out.version();
  out.tuple_header(traceback ? 4 : 3);
  out.atom("exception");
  out.binary(class_name_of(exception.get()));
  out.binary(message);
  if (traceback) out.binary(traceback_of(exception.get()));
}

bool is_interrupted() { return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0; }

std::string describe_exception() {
  auto exception = PyRef::steal(PyErr_GetRaisedException());
  if (!exception) return "unknown error";
  return class_name_of(exception.get()) + ": " + text_of(exception.get());
}

}  // namespace erlang_python
