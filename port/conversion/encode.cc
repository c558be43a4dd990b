#include "conversion/encode.h"

#include <cmath>
#include <string>

#include "conversion/conversion_error.h"
#include "conversion/key_terms.h"

namespace erlang_python {
namespace {

constexpr std::size_t kMaxDepth = TermReader::kMaxDepth;

// An encoder may answer with another object that needs an encoder, and so on; one that answers with its own argument
// would go on for ever.
constexpr int kMaxConversions = 16;

constexpr Py_ssize_t kMaxAtomLength = 255;

// A list or dict of a free-threaded build can change at any moment, so a copy is walked; with a GIL only code that runs
// in between changes it, and counting the elements shows that.
#ifdef Py_GIL_DISABLED
PyRef stable_list(PyObject* list) { return PyRef::steal(PyList_GetSlice(list, 0, PY_SSIZE_T_MAX)); }
PyRef stable_dict(PyObject* dict) { return PyRef::steal(PyDict_Copy(dict)); }
#else
PyRef stable_list(PyObject* list) { return PyRef::borrow(list); }
PyRef stable_dict(PyObject* dict) { return PyRef::borrow(dict); }
#endif

bool is_subtype(PyTypeObject* type, const PyRef& base) {
  return PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(base.get())) != 0;
}

Bytes as_bytes(PyObject* exact_bytes) {
  return {reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(exact_bytes)),
          static_cast<std::size_t>(PyBytes_GET_SIZE(exact_bytes))};
}

/// The characters of a str for which PyUnicode_IS_ASCII holds, while it lives.
std::string_view ascii_view(PyObject* text) {
  return {static_cast<const char*>(PyUnicode_DATA(text)), static_cast<std::size_t>(PyUnicode_GET_LENGTH(text))};
}

class Encoder {
 public:
  Encoder(TermWriter& out, const EncodeOptions& options, const PythonTypes& types, AtomAnnouncer& atoms)
      : out_(out), options_(options), types_(types), atoms_(atoms), keys_(types.atom.get()) {}

  /// False with an error set. `conversions` counts how often in a row Python code has replaced the value.
  bool value(PyObject* object, int conversions = 0);

 private:
  bool integer(PyObject* object);
  bool big_integer(PyObject* object);
  bool real(double number);
  bool text(PyObject* object);
  bool list(PyObject* object);
  bool tuple(PyObject* object);
  bool dict(PyObject* object);
  bool set(PyObject* object);
  bool buffer(PyObject* object);
  bool atom(PyObject* object);
  bool raw_term(PyObject* object, const char* what, TermKind kind);

  bool other(PyObject* object, int conversions);
  bool builtin_subclass(PyObject* object);
  bool registered(PyObject* object, PyRef& encoder);
  bool converted(PyRef replacement, int conversions);
  PyRef fallback(PyObject* object);

  void named_atom(std::string_view name) {
    atoms_.announce(name);
    out_.atom(name);
  }
  bool enter() {
    if (depth_ == kMaxDepth) {
      raise_conversion_error(types_, "depth");
      return false;
    }
    ++depth_;
    return true;
  }
  bool leave() {
    --depth_;
    return true;
  }

  TermWriter& out_;
  const EncodeOptions& options_;
  const PythonTypes& types_;
  AtomAnnouncer& atoms_;
  std::size_t depth_ = 0;
  KeyTerms keys_;
};

bool Encoder::value(PyObject* object, int conversions) {
  PyTypeObject* type = Py_TYPE(object);
  if (type == &PyLong_Type) return integer(object);
  if (type == &PyUnicode_Type) return text(object);
  if (type == &PyFloat_Type) return real(PyFloat_AS_DOUBLE(object));
  if (type == &PyDict_Type) return dict(object);
  if (type == &PyList_Type) return list(object);
  if (type == &PyTuple_Type) return tuple(object);
  if (type == &PyBytes_Type) {
    out_.binary(as_bytes(object));
    return true;
  }
  if (object == Py_True || object == Py_False || object == Py_None) {
    // Erlang holds these three already, so nobody needs to be told.
    out_.atom(object == Py_True ? "true" : object == Py_False ? "false" : options_.none);
    return true;
  }
  return other(object, conversions);
}

/// An int or an object of a subclass.
bool Encoder::integer(PyObject* object) {
  auto* number = reinterpret_cast<PyLongObject*>(object);
  if (PyUnstable_Long_IsCompact(number)) {
    out_.integer(PyUnstable_Long_CompactValue(number));
    return true;
  }
  int overflow = 0;
  const long long small = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow != 0) return big_integer(object);
  out_.integer(small);
  return true;
}

bool Encoder::big_integer(PyObject* object) {
  // The methods of int itself: a subclass may have redefined them. This way works from 3.12 on, PyLong_AsNativeBytes
  // only from 3.13.
  auto* int_type = reinterpret_cast<PyObject*>(&PyLong_Type);
  auto magnitude = PyRef::steal(PyObject_CallMethod(int_type, "__abs__", "O", object));
  if (!magnitude) return false;
  auto bits = PyRef::steal(PyObject_CallMethod(magnitude.get(), "bit_length", nullptr));
  if (!bits) return false;
  const Py_ssize_t length = (PyLong_AsSsize_t(bits.get()) + 7) / 8;
  if (!out_.has_room_for_integer(static_cast<std::size_t>(length))) return true;
  auto bytes = PyRef::steal(PyObject_CallMethod(magnitude.get(), "to_bytes", "ns", length, "little"));
  if (!bytes) return false;
  auto positive = PyRef::steal(PyObject_CallMethod(int_type, "__eq__", "OO", magnitude.get(), object));
  if (!positive) return false;
  out_.big_integer(positive.get() != Py_True, as_bytes(bytes.get()));
  return true;
}

bool Encoder::real(double number) {
  if (std::isfinite(number)) {
    out_.real(number);
  } else {
    named_atom(std::isnan(number) ? "nan" : number > 0 ? "infinity" : "neg_infinity");
  }
  return true;
}

/// A str or an object of a subclass.
bool Encoder::text(PyObject* object) {
  if (PyUnicode_IS_ASCII(object)) {
    out_.binary(ascii_view(object));
    return true;
  }
  // Not PyUnicode_AsUTF8AndSize: it would keep the UTF-8 in the str for as long as that lives.
  auto utf8 = PyRef::steal(PyUnicode_AsUTF8String(object));
  if (!utf8) return false;
  out_.binary(as_bytes(utf8.get()));
  return true;
}

/// A list or an object of a subclass.
bool Encoder::list(PyObject* object) {
  const PyRef items = stable_list(object);
  if (!items) return false;
  const Py_ssize_t count = PyList_GET_SIZE(items.get());
  if (count == 0) {
    out_.nil();
    return true;
  }
  if (!enter()) return false;
  out_.list_header(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (PyList_GET_SIZE(items.get()) != count) {
      PyErr_SetString(PyExc_RuntimeError, "list changed size while it was converted to a term");
      return false;
    }
    const PyRef item = PyRef::borrow(PyList_GET_ITEM(items.get(), i));
    if (!value(item.get())) return false;
    if (out_.overflowed()) return leave();
  }
  out_.nil();
  return leave();
}

/// A tuple or an object of a subclass.
bool Encoder::tuple(PyObject* object) {
  const Py_ssize_t arity = PyTuple_GET_SIZE(object);
  out_.tuple_header(static_cast<std::size_t>(arity));
  if (arity == 0) return true;
  if (!enter()) return false;
  for (Py_ssize_t i = 0; i < arity; ++i) {
    if (!value(PyTuple_GET_ITEM(object, i))) return false;
    if (out_.overflowed()) return leave();
  }
  return leave();
}

/// A dict or an object of a subclass.
bool Encoder::dict(PyObject* object) {
  const PyRef items = stable_dict(object);
  if (!items) return false;
  const Py_ssize_t count = PyDict_GET_SIZE(items.get());
  out_.map_header(static_cast<std::size_t>(count));
  if (count == 0) return true;
  if (!enter()) return false;
  KeyTerms::Map keys(keys_);
  Py_ssize_t position = 0;
  Py_ssize_t seen = 0;
  PyObject* borrowed_key = nullptr;
  PyObject* borrowed_item = nullptr;
  while (PyDict_Next(items.get(), &position, &borrowed_key, &borrowed_item) != 0) {
    const PyRef key = PyRef::borrow(borrowed_key);
    const PyRef item = PyRef::borrow(borrowed_item);
    const std::size_t start = out_.size();
    // Whole: that two keys are the same term can be seen in the frame only.
    const bool kept_large = out_.keep_large(true);
    if (!value(key.get())) return false;
    out_.keep_large(kept_large);
    keys.add(key.get(), start, out_.size());
    if (!value(item.get())) return false;
    if (out_.overflowed()) return leave();
    ++seen;
    if (PyDict_GET_SIZE(items.get()) != count || seen > count) break;
  }
  if (seen != count) {
    PyErr_SetString(PyExc_RuntimeError, "dict changed size while it was converted to a term");
    return false;
  }
  if (const auto twice = keys.duplicate(out_.bytes())) {
    position = 0;
    for (std::size_t i = 0; i <= *twice; ++i) {
      if (PyDict_Next(items.get(), &position, &borrowed_key, nullptr) == 0) break;
    }
    const PyRef key = PyRef::borrow(borrowed_key);
    raise_conversion_error(types_, "duplicate_key", key.get());
    return false;
  }
  return leave();
}

bool Encoder::set(PyObject* object) {
  auto items = PyRef::steal(PySequence_List(object));
  if (!items) return false;
  if (PyList_Sort(items.get()) < 0) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;  // KeyboardInterrupt is not about the elements
    PyErr_Clear();
  }
  return list(items.get());
}

/// bytearray and memoryview, whatever its layout.
bool Encoder::buffer(PyObject* object) {
  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) return false;
  const auto length = static_cast<std::size_t>(view.len);
  bool done = true;
  if (PyBuffer_IsContiguous(&view, 'C') != 0) {
    out_.binary(Bytes{static_cast<const std::uint8_t*>(view.buf), length});
  } else {
    std::string packed(length, '\0');
    done = PyBuffer_ToContiguous(packed.data(), &view, view.len, 'C') == 0;
    if (done) out_.binary(std::string_view(packed));
  }
  PyBuffer_Release(&view);
  return done;
}

bool Encoder::atom(PyObject* object) {
  // erlang.Atom checks this too, but str.__new__(erlang.Atom, ...) does not ask it.
  if (PyUnicode_GET_LENGTH(object) > kMaxAtomLength) {
    PyErr_SetString(PyExc_ValueError, "an atom has at most 255 characters");
    return false;
  }
  if (PyUnicode_IS_ASCII(object)) {
    named_atom(ascii_view(object));
    return true;
  }
  auto utf8 = PyRef::steal(PyUnicode_AsUTF8String(object));
  if (!utf8) return false;
  named_atom({PyBytes_AS_STRING(utf8.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(utf8.get()))});
  return true;
}

/// A Pid, Ref or Term. Its bytes may come from anywhere (they can be pickled, or made up), and a single wrong one would
/// make the whole reply unreadable, so they are looked through. `kind` is kInvalid when any term will do.
bool Encoder::raw_term(PyObject* object, const char* what, TermKind kind) {
  auto etf = PyRef::steal(PyObject_GetAttr(object, types_.etf_name.get()));
  if (!etf) return false;
  if (PyBytes_CheckExact(etf.get())) {
    TermReader reader(as_bytes(etf.get()));
    const bool right_kind = kind == TermKind::kInvalid || reader.peek() == kind;
    std::size_t heap_bytes = 0;
    const auto term =
        right_kind ? reader.skip([this](std::string_view name) { atoms_.announce(name); }, heap_bytes) : std::nullopt;
    if (term && reader.at_end()) {
      out_.raw(*term, heap_bytes);
      return true;
    }
  }
  PyErr_Format(PyExc_ValueError, "the bytes of this erlang.%s are not those of a term that Erlang sent", what);
  return false;
}

bool Encoder::other(PyObject* object, int conversions) {
  PyTypeObject* type = Py_TYPE(object);
  if (PyDict_GET_SIZE(types_.encoders.get()) != 0) {
    PyRef encoder;
    if (!registered(object, encoder)) return false;
    if (encoder) return converted(PyRef::steal(PyObject_CallOneArg(encoder.get(), object)), conversions);
  }
  if (is_subtype(type, types_.atom)) return atom(object);
  if (is_subtype(type, types_.pid)) return raw_term(object, "Pid", TermKind::kPid);
  if (is_subtype(type, types_.reference)) return raw_term(object, "Ref", TermKind::kReference);
  if (is_subtype(type, types_.term)) return raw_term(object, "Term", TermKind::kInvalid);
  if (PyAnySet_Check(object)) return set(object);
  if (PyByteArray_Check(object) || PyMemoryView_Check(object)) return buffer(object);

  constexpr unsigned long kBuiltin = Py_TPFLAGS_LONG_SUBCLASS | Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_TUPLE_SUBCLASS |
                                     Py_TPFLAGS_BYTES_SUBCLASS | Py_TPFLAGS_UNICODE_SUBCLASS | Py_TPFLAGS_DICT_SUBCLASS;
  const bool builtin = (PyType_GetFlags(type) & kBuiltin) != 0 || PyFloat_Check(object);
  // An Enum that is also an int or a str counts by its value; its metaclass gives it away.
  if (builtin && Py_IS_TYPE(reinterpret_cast<PyObject*>(type), &PyType_Type)) return builtin_subclass(object);
  auto replacement = fallback(object);
  if (replacement.get() == Py_NotImplemented && builtin) return builtin_subclass(object);
  return converted(std::move(replacement), conversions);
}

bool Encoder::builtin_subclass(PyObject* object) {
  if (PyLong_Check(object)) return integer(object);
  if (PyFloat_Check(object)) return real(PyFloat_AS_DOUBLE(object));
  if (PyUnicode_Check(object)) return text(object);
  if (PyBytes_Check(object)) {
    out_.binary(as_bytes(object));
    return true;
  }
  if (PyList_Check(object)) return list(object);
  if (PyTuple_Check(object)) return tuple(object);
  return dict(object);
}

/// Sets `encoder` to what erlang.register_encoder has for the object's class or the nearest base; none if there is
/// none.
bool Encoder::registered(PyObject* object, PyRef& encoder) {
  const PyRef bases = PyRef::borrow(Py_TYPE(object)->tp_mro);
  if (!bases) return true;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bases.get()); ++i) {
    PyObject* base = PyTuple_GET_ITEM(bases.get(), i);
    const int has = PyDict_Contains(types_.encoders.get(), base);
    if (has < 0) return false;
    if (has == 0) continue;
    encoder = PyRef::steal(PyObject_GetItem(types_.encoders.get(), base));
    return static_cast<bool>(encoder);
  }
  return true;
}

bool Encoder::converted(PyRef replacement, int conversions) {
  if (!replacement) return false;
  if (out_.overflowed()) return true;
  if (conversions == kMaxConversions) {
    raise_conversion_error(types_, "depth");
    return false;
  }
  return value(replacement.get(), conversions + 1);
}

PyRef Encoder::fallback(PyObject* object) {
  PyObject* arguments[] = {object, options_.strict ? Py_True : Py_False, options_.buffer ? Py_True : Py_False};
  return PyRef::steal(PyObject_Vectorcall(types_.fallback.get(), arguments, 3, nullptr));
}

}  // namespace

bool encode_term(PyObject* value, TermWriter& out, const EncodeOptions& options, const PythonTypes& types,
                 AtomAnnouncer& atoms) {
  return Encoder(out, options, types, atoms).value(value);
}

}  // namespace erlang_python
