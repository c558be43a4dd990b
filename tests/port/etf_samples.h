#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etf/term_reader.h"

namespace erlang_python {

using Buffer = std::vector<std::uint8_t>;

inline Buffer operator+(Buffer left, const Buffer& right) {
  std::ranges::copy(right, std::back_inserter(left));  // GCC 16 warns of insert() for vectors that are known here
  return left;
}

inline Buffer text_bytes(std::string_view text) { return {text.begin(), text.end()}; }

inline Buffer atom_bytes(std::string_view name) {
  return Buffer{119, static_cast<std::uint8_t>(name.size())} + text_bytes(name);
}

/// One term of each kind that OTP writes, with each of its tags, and a few inside one another. The atoms of OTP 25 have
/// tag 100, those of OTP 26 tags 118 and 119.
inline std::vector<Buffer> sample_terms() {
  const Buffer node = atom_bytes("nonode@nohost");
  const Buffer pid = Buffer{88} + node + Buffer{0, 0, 0, 123, 0, 0, 0, 0, 1, 2, 3, 4};
  const Buffer reference = Buffer{90, 0, 3} + node + Buffer{0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  const Buffer improper = Buffer{108, 0, 0, 0, 1, 97, 1} + atom_bytes("tail");
  const Buffer fun_rest = Buffer{2} + Buffer(16, 7) + Buffer{0, 0, 0, 42, 0, 0, 0, 1} + atom_bytes("erl_eval") +
                          Buffer{97, 42, 98, 0, 50, 155, 13} + pid + Buffer{104, 1, 97, 1};
  const Buffer fun = Buffer{112, 0, 0, 0, static_cast<std::uint8_t>(fun_rest.size() + 4)} + fun_rest;
  std::vector<Buffer> terms = {
      {97, 0},
      {97, 255},
      {98, 0xFF, 0xFF, 0xFF, 0xFF},
      {98, 0x7F, 0xFF, 0xFF, 0xFF},
      {110, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8},
      {110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1},
      Buffer{111, 0, 0, 1, 4, 0} + Buffer(260, 0xAB),
      {70, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0},
      {100, 0, 2, 'o', 'k'},
      {115, 2, 'o', 'k'},
      {118, 0, 2, 'o', 'k'},
      atom_bytes("ok"),
      atom_bytes(""),
      {100, 0, 1, 0xE9},
      {109, 0, 0, 0, 3, 'a', 0xFF, 'c'},
      {109, 0, 0, 0, 0},
      {77, 0, 0, 0, 2, 3, 0xAA, 0xA0},
      {107, 0, 3, 1, 2, 255},
      {106},
      {108, 0, 0, 0, 2, 97, 1, 97, 2, 106},
      improper,
      {104, 0},
      Buffer{104, 2, 97, 1} + atom_bytes("x"),
      Buffer{105, 0, 0, 0, 1, 97, 1},
      {116, 0, 0, 0, 0},
      Buffer{116, 0, 0, 0, 2} + atom_bytes("a") + Buffer{97, 1, 109, 0, 0, 0, 1, 'b', 106},
      pid,
      Buffer{103} + node + Buffer{0, 0, 0, 123, 0, 0, 0, 0, 1},
      reference,
      Buffer{114, 0, 1} + node + Buffer{1, 0, 0, 0, 1},
      Buffer{101} + node + Buffer{0, 0, 0, 1, 1},
      Buffer{89} + node + Buffer{0, 0, 0, 5, 0, 0, 0, 1},
      Buffer{102} + node + Buffer{0, 0, 0, 5, 1},
      Buffer{120} + node + Buffer{0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1},
      Buffer{113} + atom_bytes("lists") + atom_bytes("map") + Buffer{97, 2},
      fun,
  };
  terms.push_back(Buffer{104, 3} + pid + fun + Buffer{108, 0, 0, 0, 2} + reference + improper + Buffer{106});
  return terms;
}

/// `levels` lists, one inside the other; the innermost is empty.
inline Buffer nested_lists(std::size_t levels) {
  Buffer bytes;
  for (std::size_t i = 0; i < levels; ++i) bytes = std::move(bytes) + Buffer{108, 0, 0, 0, 1};
  bytes.push_back(106);
  return bytes + Buffer(levels, 106);
}

/// A copy on the heap that ends where the bytes end, so that the address sanitizer sees a read past them.
class ExactCopy {
 public:
  explicit ExactCopy(Bytes bytes) : size_(bytes.size()), data_(new std::uint8_t[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), data_.get());
  }
  Bytes bytes() const { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> data_;
};

}  // namespace erlang_python
