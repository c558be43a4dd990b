#pragma once

#include "base/result.h"
#include "sandbox/sandbox.h"

namespace erlang_python {

/// Refuses what Python itself tells of, in all interpreters, for ever. Before CPython starts.
///
/// All levels but off: os.fork, os.forkpty and os.exec*, which would duplicate or replace the port process (subprocess,
/// multiprocessing with spawn and asyncio subprocesses work). strict: all that docs/pools.md lists, with an error that
/// says so; what has no audit event, or is done by native code, the kernel refuses (syscall_policy.h).
Status install_audit_hook(Sandbox& sandbox);

}  // namespace erlang_python
