#pragma once

#include <cstring>

#include "base/bytes.h"
#include "python/py_ref.h"

namespace erlang_python {

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
