#pragma once

#include "base/result.h"
#include "etf/term_writer.h"
#include "protocol/port_config.h"

namespace erlang_python {

/// Starts CPython on the main thread, which then lets go of it for ever: contexts attach with their own threads.
Status start_python(const PortConfig& config);

/// The map of the READY notice: version, executable, what this build of Python can do.
void write_python_facts(TermWriter& out);

/// True when a subinterpreter with its own GIL can be used by this CPython (3.13 and later).
bool owngil_supported();

/// True when a subinterpreter can be ended without a crash (3.14 and later). Below, `Py_EndInterpreter` aborts after
/// datetime or sqlite3 were imported in several interpreters ("free(): invalid pointer"; measured
/// with 3.13.0, 3.13.15).
bool interpreters_can_end();

}  // namespace erlang_python
