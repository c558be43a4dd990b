#pragma once

#include <cstdint>

#include "base/result.h"

namespace erlang_python {

/// Bounds how many processes and threads there may be besides those that this process has now: itself and all that it
/// starts from now on. By a cgroup of its own (version 2, or the controller pids of version 1); where none may be had
/// by RLIMIT_NPROC, which does not count for root: then it fails. The empty cgroup stays until the next one is made.
Status limit_processes(std::int64_t more);

}  // namespace erlang_python
