#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "sandbox/sandbox_rules.h"

namespace erlang_python {

/// One line of a policy: a system call that is refused, always or when one of its arguments is like this. Several lines
/// of the same call add up. Pointers cannot be followed, so what only memory tells (the address that sendmsg sends to)
/// is refused where the object is made (socket).
struct SyscallRule {
  enum class Test { kEqual, kNotEqual, kGreater };
  struct Argument {
    unsigned position;
    Test test;
    std::uint64_t value;
    std::uint64_t mask = ~std::uint64_t{0};  ///< of kEqual: the bits that count
  };

  std::string_view name;  ///< empty: `number`
  int number = -1;        ///< of a call that is newer than libseccomp's table
  bool missing = false;   ///< ENOSYS, so that libc takes an older call, which can be checked; else EPERM
  std::optional<Argument> when = std::nullopt;
};

using SyscallPolicy = std::vector<SyscallRule>;

/// Of `sandbox => strict`, for the process `pid`: no processes, no changes of files, no sockets, no signals to others.
SyscallPolicy strict_policy(int pid);

/// Of `sandbox => kernel` from the start on. libuv (1.45 and later) makes a ring when a loop begins, and aborts when it
/// may not use it any more; where it cannot have one, it does without. Nor may a preload leave one behind, which works
/// past all filters.
SyscallPolicy early_kernel_policy();

/// Of `sandbox => kernel`: what Landlock does not know.
SyscallPolicy kernel_policy(const SandboxRules& rules, int pid);

}  // namespace erlang_python
