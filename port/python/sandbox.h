#pragma once

#include "base/result.h"
#include "protocol/port_config.h"

namespace erlang_python {

/// Refuses what would hurt the port process. Before CPython starts; holds in all interpreters.
///
/// default: os.fork, os.forkpty and os.exec*, which would duplicate or replace the port process (subprocess,
/// multiprocessing with spawn and asyncio subprocesses work). strict: also starting processes, opening files for
/// writing, sockets and ctypes. Strict is a guard against mistakes, not a jail: use the operating system for that.
Status install_sandbox(Sandbox level);

}  // namespace erlang_python
