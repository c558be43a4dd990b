#pragma once

#include "base/result.h"
#include "sandbox/syscall_policy.h"

namespace erlang_python {

/// Puts the policy in force in all threads of the process, for ever, and sets no_new_privs, which the kernel asks for.
Status install_seccomp_filter(const SyscallPolicy& policy);

}  // namespace erlang_python
