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
    explicit Map(KeyTerms& keys) : spans_(keys.spans_), first_(keys.spans_.size()) {}
    ~Map() { spans_.resize(first_); }
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;

    /// The next key, and where its term was written.
    void add(PyObject* key, std::size_t start, std::size_t end) {
      // Two of these that differ in Python differ in Erlang: int, str and bool give terms of kinds of their own, and no
      // two of one kind the same.
      const bool plain = PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBool_Check(key);
      distinct_ = distinct_ && plain;
      spans_.push_back({start, end, spans_.size() - first_});
    }

    /// Index of a key, in the order added, whose term another key has too.
    std::optional<std::size_t> duplicate(Bytes written);

   private:
    std::vector<Span>& spans_;
    std::size_t first_;
    bool distinct_ = true;
  };

 private:
  std::vector<Span> spans_;
};

}  // namespace erlang_python
