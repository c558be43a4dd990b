#include "etf/term_reader.h"

#include <ei.h>

#include <array>
#include <cmath>

#include "etf/tags.h"

namespace erlang_python {
namespace {

using namespace etf;

constexpr std::array<TermKind, 256> make_kinds() {
  std::array<TermKind, 256> kinds{};
  kinds.fill(TermKind::kInvalid);
  for (auto tag : {kLatin1Atom, kSmallLatin1Atom, kUtf8Atom, kSmallUtf8Atom}) kinds[tag] = TermKind::kAtom;
  for (auto tag : {kSmallInteger, kInteger, kSmallBig, kLargeBig}) kinds[tag] = TermKind::kInteger;
  for (auto tag : {kSmallTuple, kLargeTuple}) kinds[tag] = TermKind::kTuple;
  for (auto tag : {kPid, kNewPid}) kinds[tag] = TermKind::kPid;
  for (auto tag : {kReference, kNewReference, kNewerReference}) kinds[tag] = TermKind::kReference;
  for (auto tag : {kPort, kNewPort, kV4Port, kNewFun, kExport, kBitBinary}) kinds[tag] = TermKind::kOpaque;
  kinds[kNewFloat] = TermKind::kFloat;
  kinds[kBinary] = TermKind::kBinary;
  kinds[kString] = TermKind::kString;
  kinds[kNil] = TermKind::kNil;
  kinds[kList] = TermKind::kList;
  kinds[kMap] = TermKind::kMap;
  return kinds;
}

constexpr std::array<TermKind, 256> kKinds = make_kinds();

std::string utf8_of_latin1(Bytes latin1) {
  std::string text;
  text.reserve(latin1.size() * 2);
  for (std::uint8_t byte : latin1) {
    if (byte < 0x80) {
      text.push_back(static_cast<char>(byte));
    } else {
      text.push_back(static_cast<char>(0xC0 | byte >> 6));
      text.push_back(static_cast<char>(0x80 | (byte & 0x3F)));
    }
  }
  return text;
}

}  // namespace

const char* TermReader::ei_bytes() const { return reinterpret_cast<const char*>(bytes_.data() + position_); }

/// Consumes `header` bytes and returns the `count` bytes after them, consumed too. The caller has checked both.
Bytes TermReader::take(std::size_t header, std::size_t count) {
  Bytes taken = bytes_.subspan(position_ + header, count);
  position_ += header + count;
  return taken;
}

bool TermReader::read_version() {
  if (!has(1) || byte(0) != kVersion) return false;
  ++position_;
  return true;
}

TermKind TermReader::peek() const { return has(1) ? kKinds[byte(0)] : TermKind::kInvalid; }

std::optional<Bytes> TermReader::read_atom_bytes() {
  if (!has(2)) return std::nullopt;
  const std::uint8_t tag = byte(0);
  std::size_t header = 2;
  std::size_t length = 0;
  if (tag == kSmallUtf8Atom || tag == kSmallLatin1Atom) {
    length = byte(1);
  } else if ((tag == kUtf8Atom || tag == kLatin1Atom) && has(3)) {
    header = 3;
    length = half_word(1);
  } else {
    return std::nullopt;
  }
  // 255 code points are at most 1020 bytes of UTF-8; ei's buffers rely on it.
  if (length > MAXATOMLEN_UTF8 - 1 || !has(header + length)) return std::nullopt;
  return take(header, length);
}

bool TermReader::next_is_latin1_atom() const {
  return has(1) && (byte(0) == kLatin1Atom || byte(0) == kSmallLatin1Atom);
}

std::optional<std::string_view> TermReader::read_atom() {
  const bool latin1 = next_is_latin1_atom();
  const auto name = read_atom_bytes();
  if (!name) return std::nullopt;
  if (!latin1 || is_ascii(*name)) return view_of(*name);
  return latin1_names_.emplace_front(utf8_of_latin1(*name));
}

std::optional<std::int64_t> TermReader::read_int64() {
  if (!has(2)) return std::nullopt;
  switch (byte(0)) {
    case kSmallInteger: {
      const std::int64_t value = byte(1);
      position_ += 2;
      return value;
    }
    case kInteger: {
      if (!has(5)) return std::nullopt;
      const auto value = static_cast<std::int32_t>(word(1));
      position_ += 5;
      return value;
    }
    case kSmallBig: {
      const std::size_t length = byte(1);
      // ei reads the sign and `length` bytes; more than eight need not be looked at, unless they are leading zeros,
      // which no encoder writes.
      if (length > 8 || !has(3 + length)) return std::nullopt;
      int used = 0;
      EI_LONGLONG value = 0;
      if (ei_decode_longlong(ei_bytes(), &used, &value) != 0) return std::nullopt;
      position_ += static_cast<std::size_t>(used);
      return value;
    }
    default:
      return std::nullopt;
  }
}

std::optional<TermReader::BigInteger> TermReader::read_big() {
  if (!has(3)) return std::nullopt;
  if (byte(0) == kSmallBig) {
    const std::size_t length = byte(1);
    if (!has(3 + length)) return std::nullopt;
    const bool negative = byte(2) != 0;
    return BigInteger{negative, take(3, length)};
  }
  if (byte(0) == kLargeBig && has(6)) {
    const std::size_t length = word(1);
    if (remaining() - 6 < length) return std::nullopt;
    const bool negative = byte(5) != 0;
    return BigInteger{negative, take(6, length)};
  }
  return std::nullopt;
}

std::optional<double> TermReader::read_double() {
  // FLOAT_EXT (31 characters) is not read: no node since OTP 17 writes it.
  if (!has(9) || byte(0) != kNewFloat) return std::nullopt;
  int used = 0;
  double value = 0;
  if (ei_decode_double(ei_bytes(), &used, &value) != 0 || !std::isfinite(value)) return std::nullopt;
  position_ += static_cast<std::size_t>(used);
  return value;
}

std::optional<Bytes> TermReader::read_binary() {
  if (!has(5) || byte(0) != kBinary) return std::nullopt;
  const std::size_t length = word(1);
  if (remaining() - 5 < length) return std::nullopt;
  return take(5, length);
}

std::optional<Bytes> TermReader::read_string() {
  if (!has(3) || byte(0) != kString) return std::nullopt;
  const std::size_t length = half_word(1);
  if (!has(3 + length)) return std::nullopt;
  return take(3, length);
}

std::optional<std::size_t> TermReader::read_tuple_header() {
  if (!has(2)) return std::nullopt;
  if (byte(0) == kSmallTuple) {
    const std::size_t arity = byte(1);
    if (remaining() - 2 < arity) return std::nullopt;
    position_ += 2;
    return arity;
  }
  if (byte(0) == kLargeTuple && has(5)) {
    const std::size_t arity = word(1);
    if (remaining() - 5 < arity) return std::nullopt;
    position_ += 5;
    return arity;
  }
  return std::nullopt;
}

std::optional<std::size_t> TermReader::read_list_header() {
  if (read_nil()) return 0;
  if (!has(5) || byte(0) != kList) return std::nullopt;
  const std::size_t count = word(1);
  // The tail is a term of its own. A list cell without elements has no meaning, and nobody writes one.
  if (count == 0 || remaining() - 5 <= count) return std::nullopt;
  position_ += 5;
  return count;
}

bool TermReader::read_nil() {
  if (!has(1) || byte(0) != kNil) return false;
  ++position_;
  return true;
}

std::optional<std::size_t> TermReader::read_map_header() {
  if (!has(5) || byte(0) != kMap) return std::nullopt;
  const std::size_t pairs = word(1);
  if ((remaining() - 5) / 2 < pairs) return std::nullopt;
  position_ += 5;
  return pairs;
}

std::optional<std::string_view> TermReader::read_name() {
  if (const auto binary = read_binary()) return view_of(*binary);
  return read_atom();
}

}  // namespace erlang_python
