// The part of Sandbox for systems whose kernel has neither Landlock nor seccomp.

#include "sandbox/sandbox.h"

namespace erlang_python {

Status Sandbox::confine_process() {
  if (level_ == SandboxLevel::kStrict) return Error{"sandbox_unavailable: seccomp"};
  if (level_ == SandboxLevel::kKernel) return Error{"sandbox_unavailable: landlock"};
  return {};
}

Status Sandbox::apply_rules() { return Error{"not on this operating system"}; }

}  // namespace erlang_python
