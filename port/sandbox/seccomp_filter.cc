#include "sandbox/seccomp_filter.h"

#include <seccomp.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

namespace erlang_python {
namespace {

struct Release {
  void operator()(void* filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release>;

Error failed(const std::string& what, int code) { return Error{what + ": " + std::strerror(-code)}; }

/// Where the policies are complete: calls have one way in each, and clone has its flags first.
bool known_architecture() {
  const std::uint32_t native = seccomp_arch_native();
  return native == SCMP_ARCH_X86_64 || native == SCMP_ARCH_AARCH64 || native == SCMP_ARCH_RISCV64;
}

scmp_arg_cmp comparison(const SyscallRule::Argument& argument) {
  switch (argument.test) {
    case SyscallRule::Test::kNotEqual:
      return {argument.position, SCMP_CMP_NE, argument.value, 0};
    case SyscallRule::Test::kGreater:
      return {argument.position, SCMP_CMP_GT, argument.value, 0};
    case SyscallRule::Test::kEqual:
      break;
  }
  return {argument.position, SCMP_CMP_MASKED_EQ, argument.mask, argument.value};
}

int add(scmp_filter_ctx filter, const SyscallRule& rule) {
  const int number = rule.name.empty() ? rule.number : seccomp_syscall_resolve_name(std::string(rule.name).c_str());
  if (number < 0) return 0;  // this architecture does not have it
  const std::uint32_t action = SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.missing ? ENOSYS : EPERM));
  if (!rule.when) return seccomp_rule_add_array(filter, action, number, 0, nullptr);
  const scmp_arg_cmp compare = comparison(*rule.when);
  return seccomp_rule_add_array(filter, action, number, 1, &compare);
}

}  // namespace

Status install_seccomp_filter(const SyscallPolicy& policy) {
  if (!known_architecture()) return Error{"the policy is not written for this architecture"};
  const Filter filter(seccomp_init(SCMP_ACT_ALLOW));
  if (!filter) return Error{"seccomp_init: out of memory"};
  // 32-bit and x32 calls would get round the numbers above.
  int code = seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  if (code == 0) code = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (code == 0) code = seccomp_attr_set(filter.get(), SCMP_FLTATR_API_SYSRAWRC, 1);
  constexpr std::uint32_t kBinaryTree = 2;
  if (code == 0) code = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree);
  if (code != 0) return failed("seccomp_attr_set", code);
  for (const SyscallRule& rule : policy) {
    code = add(filter.get(), rule);
    if (code != 0 && code != -EEXIST) {
      return failed("seccomp_rule_add " + (rule.name.empty() ? std::to_string(rule.number) : std::string(rule.name)),
                    code);
    }
  }
  code = seccomp_load(filter.get());
  if (code != 0) return failed("seccomp_load", code);
  return {};
}

}  // namespace erlang_python
