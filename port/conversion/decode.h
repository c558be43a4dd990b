#pragma once

#include "conversion/python_types.h"
#include "etf/term_reader.h"

namespace erlang_python {

/// Makes the Python value of the next term, as docs/types.md has it.
///
/// Null with a Python error set: erlang.ConversionError for a term that Python cannot hold (deeper than
/// TermReader::kMaxDepth, an unhashable map key, two map keys that are equal in Python), ValueError for bytes that are
/// not a term, MemoryError. Needs the GIL of the interpreter that `types` belongs to.
PyRef decode_term(TermReader& reader, const PythonTypes& types);

}  // namespace erlang_python
