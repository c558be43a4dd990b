#pragma once

#include <string_view>

#include "conversion/python_types.h"
#include "etf/term_writer.h"

namespace erlang_python {

/// Told about every atom that Python makes, before the payload that holds it is sent: Erlang admits new atoms only in a
/// bounded number.
class AtomAnnouncer {
 public:
  virtual ~AtomAnnouncer() = default;
  virtual void announce(std::string_view utf8_name) = 0;
};

struct EncodeOptions {
  bool strict = false;             ///< an object that only str() could turn into a term is an error that names its type
  bool buffer = false;             ///< objects with the buffer protocol (numpy arrays) become their raw bytes
  std::string_view none = "none";  ///< the atom for None, one that Erlang holds already
};

/// Writes the Erlang term of a Python value, without a version byte, as docs/types.md has it.
///
/// False with a Python error set: erlang.ConversionError when the value is nested deeper than TermReader::kMaxDepth or
/// has two keys that are the same term, or (strict) cannot be converted; or what the value's own code raised. Once the
/// writer has overflowed it stops early and returns true: the caller must look at TermWriter::overflowed(). Runs Python
/// code (encoders, `tolist`, `__str__`), so it needs the GIL and may take any time.
bool encode_term(PyObject* value, TermWriter& out, const EncodeOptions& options, const PythonTypes& types,
                 AtomAnnouncer& atoms);

}  // namespace erlang_python
