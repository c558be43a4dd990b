#include "etf/term_writer.h"

#include <ei.h>

#include <cstring>
#include <new>

#include "etf/tags.h"

namespace erlang_python {
namespace {

using namespace etf;

constexpr std::size_t kFirstCapacity = 256;

void put_word(std::uint8_t* at, std::size_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 24);
  at[1] = static_cast<std::uint8_t>(value >> 16);
  at[2] = static_cast<std::uint8_t>(value >> 8);
  at[3] = static_cast<std::uint8_t>(value);
}

char* as_chars(std::uint8_t* at) { return reinterpret_cast<char*>(at); }

/// memcpy with a null source is undefined even for no bytes, and the data of an empty span may be null.
void copy(std::uint8_t* to, Bytes from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

}  // namespace

void TermWriter::grow(std::size_t count) {
  const std::size_t capacity = std::max({size_ + count, capacity_ * 2, kFirstCapacity});
  auto* grown = static_cast<std::uint8_t*>(std::realloc(buffer_.get(), capacity));
  if (grown == nullptr) throw std::bad_alloc();
  static_cast<void>(buffer_.release());
  buffer_.reset(grown);
  capacity_ = capacity;
}

void TermWriter::version() {
  if (auto* at = extend(1)) at[0] = kVersion;
}

void TermWriter::atom(std::string_view utf8_name) {
  const std::size_t header = utf8_name.size() < 256 ? 2 : 3;
  auto* at = extend(header + utf8_name.size());
  if (at == nullptr) return;
  int index = 0;
  ei_encode_atom_len_as(as_chars(at), &index, utf8_name.data(), static_cast<int>(utf8_name.size()), ERLANG_UTF8,
                        ERLANG_UTF8);
}

void TermWriter::wide_integer(std::int64_t value) {
  if (value >= INT32_MIN && value <= INT32_MAX) {
    if (auto* at = extend(5)) {
      at[0] = kInteger;
      put_word(at + 1, static_cast<std::uint32_t>(value));
    }
    return;
  }
  const bool negative = value < 0;
  std::uint64_t magnitude = negative ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  std::uint8_t little_endian[8];
  std::size_t length = 0;
  for (; magnitude != 0; magnitude >>= 8) little_endian[length++] = static_cast<std::uint8_t>(magnitude);
  big_integer(negative, {little_endian, length});
}

void TermWriter::big_integer(bool negative, Bytes magnitude) {
  // Erlang accepts leading zeros, but would then not see the integer as equal to its own.
  while (!magnitude.empty() && magnitude.back() == 0) magnitude = magnitude.first(magnitude.size() - 1);
  const bool small = magnitude.size() < 256;
  const std::size_t header = small ? 3 : 6;
  auto* at = extend(header + magnitude.size());
  if (at == nullptr) return;
  at[0] = small ? kSmallBig : kLargeBig;
  if (small) {
    at[1] = static_cast<std::uint8_t>(magnitude.size());
  } else {
    put_word(at + 1, magnitude.size());
  }
  at[header - 1] = negative ? 1 : 0;
  copy(at + header, magnitude);
}

void TermWriter::real(double value) {
  auto* at = extend(9);
  if (at == nullptr) return;
  int index = 0;
  ei_encode_double(as_chars(at), &index, value);
}

void TermWriter::binary(Bytes bytes) {
  auto* at = extend(5 + bytes.size());
  if (at == nullptr) return;
  at[0] = kBinary;
  put_word(at + 1, bytes.size());
  copy(at + 5, bytes);
}

void TermWriter::binary(std::string_view text) {
  binary(Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

/// A count that does not fit in 32 bits is past every limit, since its elements need a byte each.
void TermWriter::counted(std::uint8_t tag, std::size_t count) {
  if (count > kNoLimit) {
    wanted_bytes_ += count;
    return;
  }
  if (auto* at = extend(5)) {
    at[0] = tag;
    put_word(at + 1, count);
  }
}

void TermWriter::tuple_header(std::size_t arity) {
  if (arity > 255) return counted(kLargeTuple, arity);
  if (auto* at = extend(2)) {
    at[0] = kSmallTuple;
    at[1] = static_cast<std::uint8_t>(arity);
  }
}

void TermWriter::list_header(std::size_t count) {
  if (count == 0) return nil();
  counted(kList, count);
}

void TermWriter::nil() {
  if (auto* at = extend(1)) at[0] = kNil;
}

void TermWriter::map_header(std::size_t pairs) { counted(kMap, pairs); }

void TermWriter::raw(Bytes encoded) {
  if (auto* at = extend(encoded.size())) copy(at, encoded);
}

void TermWriter::clear() { truncate(0); }

void TermWriter::truncate(std::size_t size) {
  size_ = std::min(size, size_);
  wanted_bytes_ = size_;
}

void TermWriter::shrink(std::size_t keep_bytes) {
  if (capacity_ <= keep_bytes || capacity_ <= size_) return;
  const std::size_t capacity = std::max({size_, keep_bytes, std::size_t{1}});
  auto* smaller = static_cast<std::uint8_t*>(std::realloc(buffer_.get(), capacity));
  if (smaller == nullptr) return;
  static_cast<void>(buffer_.release());
  buffer_.reset(smaller);
  capacity_ = capacity;
}

}  // namespace erlang_python
