#pragma once

#include <cstring>

#include "etf/term_reader.h"
#include "python/py_ref.h"

namespace erlang_python {

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

/// Whether Python's strict UTF-8 codec takes these bytes: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(Bytes bytes);

/// A new str of bytes that are known to be ASCII; null with MemoryError set.
inline PyObject* ascii_text(Bytes ascii) {
  const auto* chars = reinterpret_cast<const char*>(ascii.data());
  const auto length = static_cast<Py_ssize_t>(ascii.size());
  // CPython shares the strings of length 0 and 1; this entry point knows them.
  if (length <= 1) return PyUnicode_DecodeLatin1(chars, length, nullptr);
  PyObject* text = PyUnicode_New(length, 127);
  if (text != nullptr) std::memcpy(PyUnicode_1BYTE_DATA(text), chars, ascii.size());
  return text;
}

}  // namespace erlang_python
