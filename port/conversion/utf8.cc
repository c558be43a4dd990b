#include "conversion/utf8.h"

namespace erlang_python {

bool is_utf8(Bytes bytes) {
  const std::uint8_t* at = bytes.data();
  const std::uint8_t* const end = at + bytes.size();
  const auto continues = [&](std::ptrdiff_t offset) { return (at[offset] & 0xC0) == 0x80; };
  while (at != end) {
    const std::uint8_t lead = *at;
    if (lead < 0x80) {
      ++at;
    } else if (lead < 0xC2) {
      return false;  // a continuation byte, or an overlong form of ASCII
    } else if (lead < 0xE0) {
      if (end - at < 2 || !continues(1)) return false;
      at += 2;
    } else if (lead < 0xF0) {
      if (end - at < 3 || !continues(1) || !continues(2)) return false;
      if (lead == 0xE0 && at[1] < 0xA0) return false;   // overlong
      if (lead == 0xED && at[1] >= 0xA0) return false;  // surrogates
      at += 3;
    } else if (lead < 0xF5) {
      if (end - at < 4 || !continues(1) || !continues(2) || !continues(3)) return false;
      if (lead == 0xF0 && at[1] < 0x90) return false;   // overlong
      if (lead == 0xF4 && at[1] >= 0x90) return false;  // past U+10FFFF
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace erlang_python
