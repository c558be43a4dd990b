// Which system calls a policy refuses, as a value: the kernel's side of it is tested by the sandbox suites.
#include "sandbox/syscall_policy.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string_view>

using namespace erlang_python;

namespace {

using Arguments = std::array<std::uint64_t, 6>;
constexpr std::uint64_t kPid = 4711;

/// What the filter that is made of the policy does.
bool refuses(const SyscallPolicy& policy, std::string_view name, const Arguments& arguments = {}) {
  for (const SyscallRule& rule : policy) {
    if (rule.name != name) continue;
    if (!rule.when) return true;
    const std::uint64_t value = arguments[rule.when->position];
    switch (rule.when->test) {
      case SyscallRule::Test::kEqual:
        if ((value & rule.when->mask) == rule.when->value) return true;
        break;
      case SyscallRule::Test::kNotEqual:
        if (value != rule.when->value) return true;
        break;
      case SyscallRule::Test::kGreater:
        if (value > rule.when->value) return true;
        break;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("no ring of io_uring can be made before the rules begin") {
  CHECK(refuses(early_kernel_policy(), "io_uring_setup"));
  CHECK(early_kernel_policy().front().missing);
}

TEST_CASE("threads may be started, processes and namespaces not") {
  const SyscallPolicy policy = strict_policy(kPid);
  constexpr std::uint64_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                    CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  CHECK_FALSE(refuses(policy, "clone", {kThread}));
  CHECK(refuses(policy, "clone", {SIGCHLD}));
  CHECK(refuses(policy, "clone", {CLONE_VM | CLONE_VFORK | SIGCHLD}));
  CHECK(refuses(policy, "clone", {kThread | CLONE_NEWNS}));
  CHECK(refuses(policy, "clone3"));
  CHECK(refuses(policy, "execve"));
  SandboxRules programs;
  programs.programs = true;
  const SyscallPolicy with_programs = kernel_policy(programs, kPid);
  CHECK_FALSE(refuses(with_programs, "clone", {CLONE_VM | CLONE_VFORK | SIGCHLD}));
  CHECK_FALSE(refuses(with_programs, "execve"));
  CHECK(refuses(with_programs, "clone", {CLONE_NEWUSER | SIGCHLD}));
  programs.processes = 0;
  CHECK(refuses(kernel_policy(programs, kPid), "vfork"));
}

TEST_CASE("signals reach this process alone") {
  const SyscallPolicy policy = strict_policy(kPid);
  for (const std::string_view call : {"kill", "tgkill"}) {
    CHECK_FALSE(refuses(policy, call, {kPid}));
    constexpr std::uint64_t kHighBit = std::uint64_t{1} << 32U;
    for (const std::uint64_t other : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, kPid | kHighBit}) {
      CHECK(refuses(policy, call, {other}));
    }
  }
}

TEST_CASE("files are opened for reading") {
  const SyscallPolicy policy = strict_policy(kPid);
  CHECK_FALSE(refuses(policy, "openat", {0, 0, O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK}));
  for (const std::uint64_t flags :
       {O_WRONLY, O_RDWR, O_ACCMODE, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC, O_TMPFILE | O_RDWR}) {
    CHECK(refuses(policy, "openat", {0, 0, flags}));
    CHECK(refuses(policy, "open", {0, flags}));
    CHECK_FALSE(refuses(kernel_policy({}, kPid), "openat", {0, 0, flags}));  // Landlock knows the path
  }
}

TEST_CASE("sockets are pairs of streams, or TCP where there are ports") {
  SandboxRules ports;
  ports.network = true;
  ports.connect = {443};
  const SyscallPolicy none = kernel_policy({}, kPid);
  const SyscallPolicy tcp = kernel_policy(ports, kPid);
  CHECK(refuses(none, "socket", {AF_INET, SOCK_STREAM, 0}));
  for (const std::uint64_t family : {AF_INET, AF_INET6}) {
    CHECK_FALSE(refuses(tcp, "socket", {family, SOCK_STREAM | SOCK_CLOEXEC, 0}));
    CHECK_FALSE(refuses(tcp, "socket", {family, SOCK_STREAM, IPPROTO_TCP}));
    CHECK(refuses(tcp, "socket", {family, SOCK_STREAM, 262}));
    CHECK(refuses(tcp, "socket", {family, SOCK_DGRAM, 0}));
    CHECK(refuses(tcp, "socket", {family, SOCK_RAW, IPPROTO_ICMP}));
  }
  for (const std::uint64_t family : {AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_UNSPEC}) {
    CHECK(refuses(tcp, "socket", {family, SOCK_STREAM, 0}));
  }
  CHECK(refuses(tcp, "listen"));
  ports.bind = {8080};
  CHECK_FALSE(refuses(kernel_policy(ports, kPid), "listen"));
  for (const SyscallPolicy& policy : {none, tcp, strict_policy(kPid)}) {
    CHECK_FALSE(refuses(policy, "socketpair", {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0}));
    CHECK(refuses(policy, "socketpair", {AF_UNIX, SOCK_DGRAM, 0}));
    CHECK(refuses(policy, "socketpair", {AF_UNIX, SOCK_RAW, 0}));
    CHECK(refuses(policy, "sendto", {1, 0, 1, 0, 0x1000, 16}));
    CHECK_FALSE(refuses(policy, "sendto", {1, 0, 1, 0, 0, 0}));
  }
}
