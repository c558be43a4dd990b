#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace erlang_python {

/// Borrowed: whoever hands them out says for how long.
using Bytes = std::span<const std::uint8_t>;

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view view_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline std::string text_of(Bytes bytes) { return std::string(view_of(bytes)); }

// Integers of the wire, the highest byte first.

inline std::uint16_t read_be16(const std::uint8_t* at) { return static_cast<std::uint16_t>(at[0] << 8 | at[1]); }

inline std::uint32_t read_be32(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

inline void write_be32(std::uint8_t* at, std::size_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 24);
  at[1] = static_cast<std::uint8_t>(value >> 16);
  at[2] = static_cast<std::uint8_t>(value >> 8);
  at[3] = static_cast<std::uint8_t>(value);
}

inline bool is_ascii(Bytes bytes) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080U;
  const std::uint8_t* at = bytes.data();
  const std::uint8_t* const end = at + bytes.size();
  std::uint64_t eight = 0;
  // Four words a round, so that the compiler can use vectors; a text that is not ASCII shows it early as a rule.
  for (; end - at >= 32; at += 32) {
    std::uint64_t words[4];
    std::memcpy(words, at, sizeof words);
    if (((words[0] | words[1] | words[2] | words[3]) & kHighBits) != 0) return false;
  }
  for (; end - at >= 8; at += 8) {
    std::memcpy(&eight, at, sizeof eight);
    if ((eight & kHighBits) != 0) return false;
  }
  for (; at != end; ++at) {
    if (*at >= 0x80) return false;
  }
  return true;
}

}  // namespace erlang_python
