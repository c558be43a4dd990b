#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "etf/term_reader.h"
#include "python/py_ref.h"

namespace erlang_python {

/// The encoded keys of the maps that are being written, one map inside the other, to find two that are the same term:
/// Erlang's binary_to_term would refuse the whole message because of them.
class KeyTerms {
 private:
  struct Span {
    std::size_t start;
    std::size_t end;
    std::size_t index;
  };

 public:
  /// The keys of one map. Maps end in the reverse of the order in which they began.
  class Map {
   public:
    explicit Map(KeyTerms& keys) : spans_(keys.spans_), first_(keys.spans_.size()), atom_class_(keys.atom_class_) {}
    ~Map() { spans_.resize(first_); }
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;

    /// The next key, and where its term was written.
    void add(PyObject* key, std::size_t start, std::size_t end) {
      kinds_ |= kind_of(key);
      spans_.push_back({start, end, spans_.size() - first_});
    }

    /// Index of a key, in the order added, whose term another key has too.
    std::optional<std::size_t> duplicate(Bytes written) {
      constexpr unsigned kNamesakes = kAtom | kConstant;
      const bool suspect = (kinds_ & kOther) != 0 || (kinds_ & kNamesakes) == kNamesakes;
      return suspect ? find_duplicate(written) : std::nullopt;
    }

   private:
    /// Keys of one kind that differ in Python differ in Erlang, and so do keys of two kinds, but for True, False and
    /// None beside the atoms of their names. Most maps are known to be free of duplicates by this alone.
    enum Kind : unsigned { kTextOrInteger = 1, kAtom = 2, kConstant = 4, kOther = 8 };

    unsigned kind_of(PyObject* key) const {
      if (PyUnicode_CheckExact(key) || PyLong_CheckExact(key)) return kTextOrInteger;
      if (reinterpret_cast<PyObject*>(Py_TYPE(key)) == atom_class_) return kAtom;
      return PyBool_Check(key) || key == Py_None ? kConstant : kOther;
    }
    std::optional<std::size_t> find_duplicate(Bytes written);

    std::vector<Span>& spans_;
    std::size_t first_;
    PyObject* atom_class_;
    unsigned kinds_ = 0;
  };

  explicit KeyTerms(PyObject* atom_class) : atom_class_(atom_class) {}

 private:
  std::vector<Span> spans_;
  PyObject* atom_class_;
};

}  // namespace erlang_python
