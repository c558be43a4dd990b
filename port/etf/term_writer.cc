#include "etf/term_writer.h"

#include <ei.h>

#include <cstring>

#include "etf/tags.h"

namespace erlang_python {
namespace {

using namespace etf;

// More than any limit, and far from what would wrap around.
constexpr std::size_t kBeyondLimits = SIZE_MAX / 4;

char* as_chars(std::uint8_t* at) { return reinterpret_cast<char*>(at); }

/// memcpy with a null source is undefined even for no bytes, and the data of an empty span may be null.
void copy(std::uint8_t* to, Bytes from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

}  // namespace

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
      write_be32(at + 1, static_cast<std::uint32_t>(value));
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
  heap_bytes_ += heap_size::integer(magnitude.size());
  const bool small = magnitude.size() < 256;
  const std::size_t header = small ? 3 : 6;
  auto* at = extend(header + magnitude.size());
  if (at == nullptr) return;
  at[0] = small ? kSmallBig : kLargeBig;
  if (small) {
    at[1] = static_cast<std::uint8_t>(magnitude.size());
  } else {
    write_be32(at + 1, magnitude.size());
  }
  at[header - 1] = negative ? 1 : 0;
  copy(at + header, magnitude);
}

bool TermWriter::has_room_for_integer(std::size_t magnitude_bytes) {
  if (magnitude_bytes > limits_.integer_bytes) {
    large_integer_bytes_ = magnitude_bytes;
    wanted_bytes_ += kBeyondLimits;
    return false;
  }
  if (magnitude_bytes <= max_bytes_) return true;
  wanted_bytes_ += magnitude_bytes;
  return false;
}

void TermWriter::real(double value) {
  heap_bytes_ += heap_size::kFloat;
  auto* at = extend(9);
  if (at == nullptr) return;
  int index = 0;
  ei_encode_double(as_chars(at), &index, value);
}

void TermWriter::binary(Bytes bytes) {
  if (bytes.size() >= large_bytes_ && put_aside(bytes)) return;
  heap_bytes_ += heap_size::binary(bytes.size());
  auto* at = extend(5 + bytes.size());
  if (at == nullptr) return;
  at[0] = kBinary;
  write_be32(at + 1, bytes.size());
  copy(at + 5, bytes);
}

bool TermWriter::put_aside(Bytes bytes) {
  if (bytes.size() > max_bytes_ || wanted_bytes_ > max_bytes_ - bytes.size()) return false;
  if (!aside_.put(size(), bytes)) return false;
  heap_bytes_ += heap_size::binary(bytes.size());
  wanted_bytes_ += bytes.size();
  counted(kList, 1);
  integer(aside_.token());
  integer(static_cast<std::int64_t>(aside_.parts().size() - 1));
  return true;
}

void TermWriter::binary(std::string_view text) { binary(bytes_of(text)); }

/// A count that does not fit in 32 bits is past every limit, since its elements need a byte each.
void TermWriter::counted(std::uint8_t tag, std::size_t count) {
  if (count > kNoLimit) {
    wanted_bytes_ += count;
    return;
  }
  if (auto* at = extend(5)) {
    at[0] = tag;
    write_be32(at + 1, count);
  }
}

void TermWriter::tuple_header(std::size_t arity) {
  heap_bytes_ += heap_size::tuple(arity);
  if (arity > 255) return counted(kLargeTuple, arity);
  if (auto* at = extend(2)) {
    at[0] = kSmallTuple;
    at[1] = static_cast<std::uint8_t>(arity);
  }
}

void TermWriter::list_header(std::size_t count) {
  if (count == 0) return nil();
  heap_bytes_ += heap_size::kCell * count;
  // Each element takes a byte at least: what passes both limits is too large for a frame.
  if (count <= kNoLimit && wanted_bytes_ + count > max_bytes_) wanted_bytes_ += count;
  counted(kList, count);
}

void TermWriter::nil() {
  if (auto* at = extend(1)) at[0] = kNil;
}

void TermWriter::map_header(std::size_t pairs) {
  heap_bytes_ += heap_size::map(pairs);
  counted(kMap, pairs);
}

void TermWriter::raw(Bytes encoded, std::size_t heap_bytes) {
  heap_bytes_ += heap_bytes;
  if (auto* at = extend(encoded.size())) copy(at, encoded);
}

void TermWriter::clear() { truncate(0); }

void TermWriter::truncate(std::size_t size) {
  buffer_.truncate(std::min(size, buffer_.size()));
  aside_.cut_back(buffer_.size());
  wanted_bytes_ = buffer_.size() + aside_.bytes();
  heap_bytes_ = 0;
  large_integer_bytes_ = 0;
}

Excess TermWriter::excess(std::size_t payload_start, std::size_t header_room) const {
  if (large_integer_bytes_ != 0) return {large_integer_bytes_, limits_.integer_bytes};
  if (wanted_bytes_ > max_bytes_) return {wanted_bytes_ - payload_start, max_bytes_ - header_room};
  return {heap_bytes_, limits_.heap_bytes};
}

}  // namespace erlang_python
