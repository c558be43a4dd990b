#include "context/calling.h"

#include <algorithm>
#include <utility>

#include "etf/received_segments.h"

namespace erlang_python {
namespace {

constexpr std::size_t kMaxCachedNames = 4096;
constexpr std::size_t kMaxCachedExpressions = 256;
constexpr std::size_t kMaxCachedExpressionBytes = 4096;

PyRef text_object(std::string_view text) {
  return PyRef::steal(PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

bool has_null_byte(std::string_view code) {
  if (code.find('\0') == std::string_view::npos) return false;
  PyErr_SetString(PyExc_SyntaxError, "source code cannot contain null bytes");
  return true;
}

/// What was compiled, and whether it defines classes.
struct Compiled {
  PyRef code;
  bool classes = false;
};

PyRef sources() { return PyRef::steal(PyImport_ImportModule("erlang._sources")); }

/// Code comes as UTF-8, whatever encoding a comment in its first lines names: that was meant for a file. The package
/// keeps the text under a file name of its own, so that tracebacks and inspect show it.
Compiled compile(std::string_view text, const char* kind, int start) {
  if (has_null_byte(text)) return {};
  auto keeper = sources();
  auto file = keeper ? PyRef::steal(PyObject_CallMethod(keeper.get(), "new_file", "s", kind)) : PyRef();
  if (!file) return {};
  PyCompilerFlags flags{};
  flags.cf_flags = PyCF_SOURCE_IS_UTF8 | PyCF_IGNORE_COOKIE;
  flags.cf_feature_version = PY_MINOR_VERSION;
  auto code = PyRef::steal(Py_CompileStringObject(std::string(text).c_str(), file.get(), start, &flags, -1));
  auto source = code ? text_object(text) : PyRef();
  if (!source) return {};
  auto classes = PyRef::steal(PyObject_CallMethod(keeper.get(), "remember", "OO", code.get(), source.get()));
  if (!classes) return {};
  return {std::move(code), classes.get() == Py_True};
}

/// The source of its classes is kept as well; an error of the code itself, if it is set, stays set.
void adopt_classes(PyObject* code, PyObject* globals) {
  auto raised = PyRef::steal(PyErr_GetRaisedException());
  auto keeper = sources();
  auto adopted = keeper ? PyRef::steal(PyObject_CallMethod(keeper.get(), "adopt", "OO", code, globals)) : PyRef();
  if (!adopted) PyErr_Clear();  // they have no source then
  if (raised) PyErr_SetRaisedException(raised.release());
}

void set_malformed(const char* what) { PyErr_Format(PyExc_TypeError, "malformed request: %s", what); }

/// These look at the frame that calls them, and a request has none: they get one with the caller's namespace.
bool needs_frame(std::string_view module_text, std::string_view function_text) {
  return module_text == "builtins" &&
         (function_text == "eval" || function_text == "exec" || function_text == "globals");
}

/// Owns the arguments of a vectorcall; the first place is free for the callee (PY_VECTORCALL_ARGUMENTS_OFFSET).
class Arguments {
 public:
  explicit Arguments(std::vector<PyObject*>& scratch) : scratch_(scratch), items_(std::exchange(scratch, {})) {
    items_.assign(1, nullptr);
  }
  ~Arguments() {
    for (std::size_t i = 1; i < items_.size(); ++i) Py_XDECREF(items_[i]);
    items_.clear();
    scratch_ = std::move(items_);
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  bool add(PyRef value) {
    if (!value) return false;
    items_.push_back(value.release());
    return true;
  }
  std::size_t size() const { return items_.size() - 1; }
  PyObject* const* data() const { return items_.data() + 1; }

 private:
  std::vector<PyObject*>& scratch_;
  std::vector<PyObject*> items_;
};

/// A list of arguments may come as LIST_EXT, NIL_EXT or, when all are small integers, as STRING_EXT.
bool read_positional(TermReader& body, const PythonTypes& types, Arguments& arguments) {
  if (const auto bytes = body.read_string()) {
    return std::all_of(bytes->begin(), bytes->end(),
                       [&](std::uint8_t byte) { return arguments.add(PyRef::steal(PyLong_FromLong(byte))); });
  }
  const auto count = body.read_list_header();
  if (!count) {
    set_malformed("the arguments are not a list");
    return false;
  }
  for (std::size_t i = 0; i < *count; ++i) {
    if (!arguments.add(decode_term(body, types))) return false;
  }
  if (*count > 0 && !body.read_nil()) {
    set_malformed("the arguments are an improper list");
    return false;
  }
  return true;
}

/// Names of the keyword arguments, whose values go behind the positional ones; an empty result without a Python error
/// set when there are none.
PyRef read_keywords(TermReader& body, const PythonTypes& types, Arguments& arguments) {
  const auto count = body.read_map_header();
  if (!count) {
    set_malformed("the keyword arguments are not a map");
    return {};
  }
  if (*count == 0) return {};
  auto names = PyRef::steal(PyTuple_New(static_cast<Py_ssize_t>(*count)));
  auto seen = PyRef::steal(PySet_New(nullptr));
  if (!names || !seen) return {};
  for (std::size_t i = 0; i < *count; ++i) {
    const auto key = body.read_name();
    if (!key) {
      PyErr_SetString(PyExc_TypeError, "a keyword argument's name is neither an atom nor a UTF-8 binary");
      return {};
    }
    auto name = text_object(*key);
    if (!name) return {};
    const int twice = PySet_Contains(seen.get(), name.get());
    if (twice > 0) {
      PyErr_Format(PyExc_TypeError, "keyword argument '%U' is given twice, as an atom and as a binary", name.get());
    }
    if (twice != 0 || PySet_Add(seen.get(), name.get()) != 0) return {};
    PyTuple_SET_ITEM(names.get(), static_cast<Py_ssize_t>(i), name.release());
    if (!arguments.add(decode_term(body, types))) return {};
  }
  return names;
}

}  // namespace

Calling::Name* Calling::name(std::string_view text) {
  if (const auto found = names_.find(text); found != names_.end()) return &found->second;
  PyObject* object = PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
  if (object == nullptr) return nullptr;
  PyUnicode_InternInPlace(&object);
  // The end of a module runs Python code, which may come here.
  if (names_.size() >= kMaxCachedNames) static_cast<void>(std::exchange(names_, {}));
  return &names_.emplace(std::string(text), Name{PyRef::steal(object), {}}).first->second;
}

PyRef Calling::module(std::string_view text) {
  const Name* const known = name(text);
  if (known == nullptr) return {};
  const auto interned = known->text.copy();
  // A module in sys.modules may still be importing in another thread; PyImport_Import waits for it. Once seen complete
  // it stays so, and a replaced one is another object.
  if (PyObject* const seen = known->module.get(); seen != nullptr) {
    auto present = PyRef::borrow(PyDict_GetItemWithError(PyImport_GetModuleDict(), interned.get()));
    if (present.get() == seen) return present;
    PyErr_Clear();
  }
  auto imported = PyRef::steal(PyImport_Import(interned.get()));
  // Its code may have called others meanwhile.
  if (Name* const now = imported ? name(text) : nullptr) now->module = imported.copy();
  return imported;
}

PyRef Calling::attribute(PyObject* object, std::string_view dotted) {
  auto current = PyRef::borrow(object);
  while (current) {
    const std::size_t dot = dotted.find('.');
    const Name* const known = name(dotted.substr(0, dot));
    if (known == nullptr) return {};
    const auto part = known->text.copy();
    current = PyRef::steal(PyObject_GetAttr(current.get(), part.get()));
    if (dot == std::string_view::npos) break;
    dotted.remove_prefix(dot + 1);
  }
  return current;
}

PyRef Calling::function(std::string_view module_text, std::string_view function_text, const Namespaces& namespaces) {
  if (module_text == "__main__") {
    const std::size_t dot = function_text.find('.');
    const Name* const known = name(function_text.substr(0, dot));
    if (known == nullptr) return {};
    const auto first = known->text.copy();
    for (PyObject* globals : {namespaces.own, namespaces.shared}) {
      auto found = PyRef::borrow(PyDict_GetItemWithError(globals, first.get()));
      if (found)
        return dot == std::string_view::npos ? std::move(found) : attribute(found.get(), function_text.substr(dot + 1));
      if (PyErr_Occurred() != nullptr) return {};
    }
  }
  auto found = module(module_text);
  if (!found) return {};
  return attribute(found.get(), function_text);
}

PyRef Calling::call(TermReader& body, const Namespaces& namespaces) {
  const auto module_text = body.read_name();
  const auto function_text = module_text ? body.read_name() : std::nullopt;
  if (!function_text) {
    set_malformed("module and function must be atoms or binaries");
    return {};
  }
  auto callable = function(*module_text, *function_text, namespaces);
  if (!callable) return {};
  Arguments arguments(arguments_);
  if (needs_frame(*module_text, *function_text)) {
    auto called = std::exchange(callable, framed(namespaces.own));
    if (!callable || !arguments.add(std::move(called))) return {};
  }
  if (!read_positional(body, types_, arguments)) return {};
  const std::size_t positional = arguments.size();
  auto keywords = read_keywords(body, types_, arguments);
  if (!keywords && PyErr_Occurred() != nullptr) return {};
  if (body.segments() != nullptr) body.segments()->decoded();
  return PyRef::steal(PyObject_Vectorcall(callable.get(), arguments.data(), positional | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                          keywords.get()));
}

PyRef Calling::framed(PyObject* globals) {
  // Without explicit globals exec would define names among the locals of the frame.
  auto code = compile_expression(
      "lambda function, *args, **kwargs:"
      " function(args[0], globals()) if len(args) == 1 and not kwargs else function(*args, **kwargs)");
  if (!code) return {};
  return PyRef::steal(PyEval_EvalCode(code.get(), globals, globals));
}

PyRef Calling::compile_expression(std::string_view code) {
  const bool cached = code.size() <= kMaxCachedExpressionBytes;
  if (cached) {
    if (const auto found = compiled_.find(code); found != compiled_.end()) return found->second.copy();
  }
  // An expression may be indented or stand on its own lines, as text in Erlang source does.
  std::string_view text = code;
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  auto compiled = compile(text, "eval", Py_eval_input).code;
  if (compiled && cached) {
    if (compiled_.size() >= kMaxCachedExpressions) compiled_.clear();
    compiled_.insert_or_assign(std::string(code), compiled.copy());
  }
  return compiled;
}

PyRef Calling::eval(TermReader& body, PyObject* globals) {
  const auto expression = body.read_name();
  if (!expression) {
    set_malformed("the expression is not UTF-8 text");
    return {};
  }
  auto code = compile_expression(*expression);
  if (!code) return {};
  const auto before_locals = body.position();
  if (body.read_map_header() == std::size_t{0}) return PyRef::steal(PyEval_EvalCode(code.get(), globals, globals));
  body.rewind(before_locals);
  auto locals = decode_term(body, types_);
  if (!locals) return {};
  if (body.segments() != nullptr) body.segments()->decoded();
  if (PyDict_Check(locals.get()) == 0) {
    set_malformed("the locals are not a map");
    return {};
  }
  // Comprehensions and lambdas see globals only, so the locals go on top of a copy of them; nothing leaks back.
  auto scope = PyRef::steal(PyDict_Copy(globals));
  if (!scope || PyDict_Update(scope.get(), locals.get()) != 0) return {};
  return PyRef::steal(PyEval_EvalCode(code.get(), scope.get(), scope.get()));
}

PyRef Calling::exec(TermReader& body, PyObject* globals) {
  const auto text = body.read_name();
  if (!text) {
    set_malformed("the code is not UTF-8 text");
    return {};
  }
  return run(*text, "exec", globals);
}

PyRef Calling::run(std::string_view code, const char* kind, PyObject* globals) {
  const auto compiled = compile(code, kind, Py_file_input);
  if (!compiled.code) return {};
  auto done = PyRef::steal(PyEval_EvalCode(compiled.code.get(), globals, globals));
  if (compiled.classes) adopt_classes(compiled.code.get(), globals);
  return done;
}

}  // namespace erlang_python
