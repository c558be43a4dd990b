#include "conversion/decode.h"

#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "conversion/conversion_error.h"
#include "conversion/utf8.h"
#include "etf/received_segments.h"

namespace erlang_python {
namespace {

constexpr std::size_t kMaxDepth = TermReader::kMaxDepth;

const char* as_chars(Bytes bytes) { return reinterpret_cast<const char*>(bytes.data()); }

Py_ssize_t as_size(std::size_t count) { return static_cast<Py_ssize_t>(count); }

/// Text that comes again and again within one message: atoms, and the keys of a list of maps. A hit saves the
/// allocation, the check for UTF-8 and the hash of a str. Direct-mapped; slots are touched only once used.
class TextCache {
 public:
  TextCache() {}  // NOLINT(modernize-use-equals-default): leaves entries_ uninitialised
  ~TextCache() {
    for (; used_ != 0; used_ &= used_ - 1) Py_DECREF(entries_[static_cast<std::size_t>(std::countr_zero(used_))].text);
  }
  TextCache(const TextCache&) = delete;
  TextCache& operator=(const TextCache&) = delete;

  static constexpr std::size_t kMaxLength = 32;

  /// A new reference to the str of ASCII bytes of at most kMaxLength, made by `make` on a miss.
  template <typename Make>
  PyObject* get(Bytes bytes, Make make) {
    const std::size_t slot = slot_of(bytes);
    Entry& entry = entries_[slot];
    const std::uint64_t bit = std::uint64_t{1} << slot;
    if ((used_ & bit) != 0 && entry.length == bytes.size() &&
        std::memcmp(entry.bytes.data(), bytes.data(), bytes.size()) == 0) {
      return Py_NewRef(entry.text);
    }
    PyObject* text = make();
    if (text == nullptr) return nullptr;
    if ((used_ & bit) != 0) Py_DECREF(entry.text);
    used_ |= bit;
    entry.text = Py_NewRef(text);
    entry.length = bytes.size();
    std::memcpy(entry.bytes.data(), bytes.data(), bytes.size());
    return text;
  }

 private:
  struct Entry {
    PyObject* text;
    std::size_t length;
    std::array<std::uint8_t, kMaxLength> bytes;
  };

  static std::size_t slot_of(Bytes bytes) {
    // FNV-1a over a few bytes: names of one message differ in length, at the ends or in the middle.
    std::uint32_t hash = 2166136261U ^ static_cast<std::uint32_t>(bytes.size());
    const auto mix = [&hash](std::uint8_t byte) { hash = (hash ^ byte) * 16777619U; };
    if (!bytes.empty()) {
      mix(bytes.front());
      mix(bytes[bytes.size() / 2]);
      mix(bytes[bytes.size() - 1]);
    }
    return (hash >> 16 ^ hash) & 63U;
  }

  std::uint64_t used_ = 0;
  std::array<Entry, 64> entries_;
};

class Decoder {
 public:
  Decoder(TermReader& reader, const PythonTypes& types) : reader_(reader), types_(types) {}

  /// A new reference, or null with an error set.
  PyObject* value();

 private:
  PyObject* atom();
  PyObject* integer();
  PyObject* big_integer();
  PyObject* real();
  PyObject* binary();
  PyObject* text_or_bytes(Bytes bytes);
  std::shared_ptr<ReceivedSegment> segment();
  PyObject* string();
  PyObject* list();
  PyObject* improper_list(std::size_t start, std::size_t count);
  PyObject* tuple();
  PyObject* bytes_pair();
  PyObject* map();
  PyObject* key();
  PyObject* wrapped(const PyRef& type);
  PyObject* wrap(const PyRef& type, Bytes etf);

  PyObject* malformed() {
    if (!PyErr_Occurred()) {
      PyErr_Format(PyExc_ValueError, "malformed external term at byte %zu", reader_.position());
    }
    return nullptr;
  }
  bool too_deep() {
    if (depth_ < kMaxDepth) return false;
    raise_conversion_error(types_, "depth");
    return true;
  }

  /// For a term that is kept as it is, and counts as deep as it would if it were decoded.
  std::size_t levels_left() const { return kMaxDepth - depth_; }

  TermReader& reader_;
  const PythonTypes& types_;
  std::size_t depth_ = 0;
  TextCache texts_;
};

PyObject* Decoder::value() {
  switch (reader_.peek()) {
    case TermKind::kInteger:
      return integer();
    case TermKind::kAtom:
      return atom();
    case TermKind::kBinary:
      return binary();
    case TermKind::kFloat:
      return real();
    case TermKind::kString:
      return string();
    case TermKind::kNil:
      return reader_.read_nil() ? PyList_New(0) : malformed();
    case TermKind::kList:
      return list();
    case TermKind::kTuple:
      return tuple();
    case TermKind::kMap:
      return map();
    case TermKind::kPid:
      return wrapped(types_.pid);
    case TermKind::kReference:
      return wrapped(types_.reference);
    case TermKind::kOpaque:
      return wrapped(types_.term);
    case TermKind::kInvalid:
      break;
  }
  return malformed();
}

PyObject* Decoder::atom() {
  const bool latin1 = reader_.next_is_latin1_atom();
  const auto name = reader_.read_atom_bytes();
  if (!name) return malformed();
  const std::string_view text(as_chars(*name), name->size());
  if (text == "true") Py_RETURN_TRUE;
  if (text == "false") Py_RETURN_FALSE;
  if (text == "none" || text == "nil" || text == "undefined") Py_RETURN_NONE;
  if (!is_ascii(*name)) {
    return latin1 ? PyUnicode_DecodeLatin1(as_chars(*name), as_size(name->size()), nullptr)
                  : PyUnicode_DecodeUTF8(as_chars(*name), as_size(name->size()), nullptr);
  }
  if (name->size() > TextCache::kMaxLength) return ascii_text(*name);
  return texts_.get(*name, [&] { return ascii_text(*name); });
}

PyObject* Decoder::integer() {
  if (const auto small = reader_.read_int64()) return PyLong_FromLongLong(*small);
  return big_integer();
}

PyObject* Decoder::big_integer() {
  const auto big = reader_.read_big();
  if (!big) return malformed();
  auto magnitude = PyRef::steal(PyObject_CallFunction(types_.int_from_bytes.get(), "y#s", as_chars(big->magnitude),
                                                      as_size(big->magnitude.size()), "little"));
  if (!magnitude || !big->negative) return magnitude.release();
  return PyNumber_Negative(magnitude.get());
}

PyObject* Decoder::real() {
  const auto number = reader_.read_double();
  return number ? PyFloat_FromDouble(*number) : malformed();
}

PyObject* Decoder::binary() {
  const auto bytes = reader_.read_binary();
  return bytes ? text_or_bytes(*bytes) : malformed();
}

PyObject* Decoder::text_or_bytes(Bytes bytes) {
  if (is_ascii(bytes)) return ascii_text(bytes);
  // Checked first, because an exception for each of many binaries that are not text would cost more than the check.
  if (is_utf8(bytes)) return PyUnicode_DecodeUTF8(as_chars(bytes), as_size(bytes.size()), nullptr);
  return PyBytes_FromStringAndSize(as_chars(bytes), as_size(bytes.size()));
}

/// The large binary for which the list stands that comes next. Null, and nothing is read: it is any other term.
std::shared_ptr<ReceivedSegment> Decoder::segment() {
  ReceivedSegments* const segments = reader_.segments();
  if (segments == nullptr || reader_.peek() != TermKind::kList) return nullptr;
  const std::size_t start = reader_.position();
  if (reader_.read_list_header() == std::size_t{1} && reader_.peek() == TermKind::kReference) {
    const auto key = reader_.skip();
    const auto index = key && segments->has_key(*key) ? reader_.read_int64() : std::nullopt;
    if (index) {
      if (auto found = segments->at(*index)) return found;
    }
  }
  reader_.rewind(start);
  return nullptr;
}

PyObject* Decoder::string() {
  const auto bytes = reader_.read_string();
  if (!bytes) return malformed();
  auto list = PyRef::steal(PyList_New(as_size(bytes->size())));
  if (!list) return nullptr;
  for (std::size_t i = 0; i < bytes->size(); ++i) {
    PyObject* item = PyLong_FromLong((*bytes)[i]);  // below 256: CPython's own small integers
    if (item == nullptr) return nullptr;
    PyList_SET_ITEM(list.get(), as_size(i), item);
  }
  return list.release();
}

PyObject* Decoder::list() {
  if (const auto large = segment()) return large->is_mapped() ? text_or_bytes(large->bytes()) : PyErr_NoMemory();
  const std::size_t start = reader_.position();
  const std::size_t depth = depth_;
  const auto count = reader_.read_list_header();
  if (!count) return malformed();
  if (too_deep()) return nullptr;
  ++depth_;
  auto list = PyRef::steal(PyList_New(as_size(*count)));
  if (!list) return nullptr;
  for (std::size_t i = 0; i < *count; ++i) {
    PyObject* item = value();
    if (item == nullptr) {
      depth_ = depth;
      return improper_list(start, *count);
    }
    PyList_SET_ITEM(list.get(), as_size(i), item);
  }
  depth_ = depth;
  if (reader_.read_nil()) return list.release();
  return improper_list(start, *count);
}

/// An improper list is one opaque term, whatever is in it: so an element that Python cannot hold must not matter, and
/// the error that it has raised is dropped. Any other list keeps its error.
PyObject* Decoder::improper_list(std::size_t start, std::size_t count) {
  if (PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(types_.conversion_error.get())) return nullptr;
    reader_.rewind(start);
    static_cast<void>(reader_.read_list_header());
    for (std::size_t i = 0; i < count; ++i) {
      if (!reader_.skip(levels_left() - 1)) return nullptr;
    }
    if (reader_.peek() == TermKind::kNil) return nullptr;
    PyErr_Clear();
  }
  if (!reader_.skip(levels_left() - 1)) return malformed();
  return wrap(types_.term, reader_.since(start));
}

PyObject* Decoder::tuple() {
  const auto arity = reader_.read_tuple_header();
  if (!arity) return malformed();
  if (*arity == 0) return PyTuple_New(0);
  if (*arity == 2) {
    if (PyObject* bytes = bytes_pair(); bytes != nullptr || PyErr_Occurred()) return bytes;
  }
  if (too_deep()) return nullptr;
  ++depth_;
  auto tuple = PyRef::steal(PyTuple_New(as_size(*arity)));
  if (!tuple) return nullptr;
  for (std::size_t i = 0; i < *arity; ++i) {
    PyObject* item = value();
    if (item == nullptr) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), as_size(i), item);
  }
  --depth_;
  return tuple.release();
}

/// `{bytes, Binary}` behind its header, which is how Erlang asks for bytes where text would do. Null without an error
/// when it is any other pair.
PyObject* Decoder::bytes_pair() {
  const std::size_t start = reader_.position();
  if (reader_.peek() == TermKind::kAtom) {
    const auto name = reader_.read_atom_bytes();
    if (name && std::string_view(as_chars(*name), name->size()) == "bytes") {
      if (const auto bytes = reader_.read_binary()) {
        return PyBytes_FromStringAndSize(as_chars(*bytes), as_size(bytes->size()));
      }
      if (const auto large = segment()) {
        if (!large->is_mapped()) return PyErr_NoMemory();
        return PyBytes_FromStringAndSize(as_chars(large->bytes()), as_size(large->bytes().size()));
      }
    }
    reader_.rewind(start);
  }
  return nullptr;
}

PyObject* Decoder::map() {
  const auto pairs = reader_.read_map_header();
  if (!pairs) return malformed();
  auto dict = PyRef::steal(PyDict_New());
  if (!dict || *pairs == 0) return dict.release();
  if (too_deep()) return nullptr;
  ++depth_;
  for (std::size_t i = 0; i < *pairs; ++i) {
    auto name = PyRef::steal(key());
    if (!name) return nullptr;
    auto item = PyRef::steal(value());
    if (!item) return nullptr;
    if (PyDict_SetItem(dict.get(), name.get(), item.get()) < 0) {
      // Everything that is made here and cannot be a key raises TypeError from its __hash__.
      if (PyErr_ExceptionMatches(PyExc_TypeError)) raise_conversion_error(types_, "map_key", name.get());
      return nullptr;
    }
    if (PyDict_GET_SIZE(dict.get()) != as_size(i + 1)) {
      raise_conversion_error(types_, "duplicate_key", name.get());
      return nullptr;
    }
  }
  --depth_;
  return dict.release();
}

/// A map's key: a short binary is worth remembering there.
PyObject* Decoder::key() {
  if (reader_.peek() != TermKind::kBinary) return value();
  const std::size_t start = reader_.position();
  const auto bytes = reader_.read_binary();
  if (bytes && bytes->size() <= TextCache::kMaxLength && is_ascii(*bytes)) {
    return texts_.get(*bytes, [&] { return ascii_text(*bytes); });
  }
  reader_.rewind(start);
  return binary();
}

PyObject* Decoder::wrapped(const PyRef& type) {
  const auto bytes = reader_.skip(levels_left());
  return bytes ? wrap(type, *bytes) : malformed();
}

PyObject* Decoder::wrap(const PyRef& type, Bytes etf) {
  auto bytes = PyRef::steal(PyBytes_FromStringAndSize(as_chars(etf), as_size(etf.size())));
  return bytes ? PyObject_CallOneArg(type.get(), bytes.get()) : nullptr;
}

}  // namespace

PyRef decode_term(TermReader& reader, const PythonTypes& types) { return PyRef::steal(Decoder(reader, types).value()); }

}  // namespace erlang_python
