#pragma once

#include <string>

#include "conversion/python_types.h"
#include "etf/term_writer.h"

namespace erlang_python {

/// Takes the current Python exception and writes it as a payload: {exception, Class, Message[, Traceback]}, or
/// {error, {not_encodable, What}} for erlang.ConversionError.
///
/// `subinterpreter`: say what to do when an extension module refuses to load in one.
void write_exception(TermWriter& out, const PythonTypes& types, bool traceback, bool subinterpreter);

/// True when the current exception is KeyboardInterrupt, which is how requests are interrupted.
bool is_interrupted();

/// Takes the current exception and says it in one line, for logs and start errors.
std::string describe_exception();

}  // namespace erlang_python
