#pragma once

#include "base/result.h"
#include "etf/term_writer.h"
#include "protocol/port_config.h"
#include "sandbox/sandbox.h"

namespace erlang_python {

/// Starts CPython on the main thread, which then lets go of it for ever: contexts attach with their own threads.
Status start_python(const PortConfig& config, Sandbox& sandbox);

/// The map of the READY notice: process id, version, executable, what this build of Python can do, what the kernel
/// keeps inside.
void write_python_facts(TermWriter& out, const Sandbox& sandbox);

}  // namespace erlang_python
