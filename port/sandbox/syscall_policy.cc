#include "sandbox/syscall_policy.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <initializer_list>

namespace erlang_python {
namespace {

using Test = SyscallRule::Test;

/// Not a file's, not a socket's, and nobody's business in a pool: other processes, the machine, the kernel.
constexpr std::array kNever = std::to_array<std::string_view>({
    // Other processes.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "pidfd_getfd",
    "rt_sigqueueinfo",
    "tkill",
    // System V objects and message queues have no owner that Landlock knows.
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    // Keys, tracing, and interfaces with a history of holes.
    "add_key",
    "request_key",
    "keyctl",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "lookup_dcookie",
    "modify_ldt",
    "uselib",
    "_sysctl",
    "nfsservctl",
    "vmsplice",
    // Mounts and namespaces.
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "open_by_handle_at",
    "fanotify_init",
    "quotactl",
    "quotactl_fd",
    // The machine.
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "iopl",
    "ioperm",
    "syslog",
    "vhangup",
    "sethostname",
    "setdomainname",
    "clock_settime",
    "clock_adjtime",
    "settimeofday",
    "adjtimex",
    "stime",
});
/// Who the process is, and what it may use.
constexpr std::array kIdentity =
    std::to_array<std::string_view>({"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
                                     "setfsuid", "setfsgid", "capset", "setrlimit"});

/// What Landlock does not know of files. A descriptor for reading is enough for most of them.
constexpr std::array kAttributes = std::to_array<std::string_view>(
    {"chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
     "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"});

constexpr std::array kChangesFiles = std::to_array<std::string_view>(
    {"creat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat",
     "symlink", "symlinkat", "truncate", "truncate64", "mknod", "mknodat"});

constexpr std::array kStartsProcesses =
    std::to_array<std::string_view>({"execve", "execveat", "fork", "vfork", "setsid", "setpgid", "pidfd_send_signal"});

constexpr std::array kUsesNetwork =
    std::to_array<std::string_view>({"socket", "connect", "bind", "listen", "accept", "accept4"});

// Numbers of calls that are newer than the headers here; from 424 on they are the same everywhere but on alpha.
constexpr int kFirstUnknown = 451;
constexpr int kBeyondUnknown = 600;
/// cachestat, map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal: libc may want them, and they are
/// harmless.
constexpr std::array<int, 6> kHarmless = {451, 453, 454, 455, 456, 462};

constexpr std::array<std::uint64_t, 8> kNamespaceFlags = {0x00000080 /* time */, CLONE_NEWNS,  CLONE_NEWCGROUP,
                                                          CLONE_NEWUTS,          CLONE_NEWIPC, CLONE_NEWUSER,
                                                          CLONE_NEWPID,          CLONE_NEWNET};

// ioctl: what types into a terminal, has signals sent, or changes a file or a whole file system by a descriptor that
// was opened for reading. The second byte of a request names its family.
constexpr std::array<std::uint64_t, 5> kIoctls = {0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */, 0x5423 /* TIOCSETD */,
                                                  0x8901 /* FIOSETOWN */, 0x8902 /* SIOCSPGRP */};
constexpr std::array<std::uint64_t, 5> kIoctlFamilies = {0x12 /* block devices */, 'X' /* FIFREEZE, FITRIM, XFS */,
                                                         'f' /* file flags, ext4 */, 0x94 /* btrfs */, 0xF5 /* F2FS */};
constexpr std::uint64_t kIoctlMask = 0xffffffff;
constexpr std::uint64_t kFamilyMask = 0xff00;

constexpr std::uint64_t kFastOpen = 0x20000000;  // MSG_FASTOPEN: connects where Landlock does not look
constexpr std::uint64_t kPersonalityQuery = 0xffffffff;
constexpr std::uint64_t kTypeMask = 0xf;  // SOCK_CLOEXEC and SOCK_NONBLOCK stand above
constexpr std::uint64_t kProtocolTcp = 6;

class Builder {
 public:
  template <typename Names>
  void refuse(const Names& names) {
    for (const std::string_view name : names) policy_.push_back({.name = name});
  }
  void refuse(std::initializer_list<std::string_view> names) { refuse<>(names); }
  void missing(std::string_view name) { policy_.push_back({.name = name, .missing = true}); }
  void missing(int number) { policy_.push_back({.name = {}, .number = number, .missing = true}); }

  void refuse_equal(std::string_view name, unsigned position, std::uint64_t value,
                    std::uint64_t mask = ~std::uint64_t{0}) {
    policy_.push_back({.name = name, .when = {{position, Test::kEqual, value, mask}}});
  }
  void refuse_flag(std::string_view name, unsigned position, std::uint64_t flag) {
    refuse_equal(name, position, flag, flag);
  }
  void refuse_unless(std::string_view name, unsigned position, std::uint64_t value) {
    policy_.push_back({.name = name, .when = {{position, Test::kNotEqual, value}}});
  }
  void refuse_above(std::string_view name, unsigned position, std::uint64_t value) {
    policy_.push_back({.name = name, .when = {{position, Test::kGreater, value}}});
  }

  SyscallPolicy take() { return std::move(policy_); }

 private:
  SyscallPolicy policy_;
};

void everywhere(Builder& out) {
  out.refuse(kNever);
  out.refuse(kIdentity);
  out.refuse(kAttributes);
  for (int number = kFirstUnknown; number < kBeyondUnknown; ++number) {
    bool harmless = false;
    for (const int known : kHarmless) harmless = harmless || known == number;
    if (!harmless) out.missing(number);
  }
  // Its flags stand in memory. libc takes clone instead.
  out.missing("clone3");
  for (const std::uint64_t flag : kNamespaceFlags) out.refuse_flag("clone", 0, flag);
  // 0 is the caller itself.
  out.refuse_unless("prlimit64", 2, 0);
  for (const std::string_view name :
       {"sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "move_pages", "migrate_pages"}) {
    out.refuse_unless(name, 0, 0);
  }
  out.refuse_unless("setpriority", 0, PRIO_PROCESS);
  out.refuse_unless("setpriority", 1, 0);
  out.refuse_unless("ioprio_set", 0, 1);
  out.refuse_unless("ioprio_set", 1, 0);
  out.refuse_unless("personality", 0, kPersonalityQuery);
  for (const std::uint64_t request : kIoctls) out.refuse_equal("ioctl", 1, request, kIoctlMask);
  for (const std::uint64_t family : kIoctlFamilies) out.refuse_equal("ioctl", 1, family << 8U, kFamilyMask);
  // Signals by a descriptor, and leases, which keep others waiting who open the file.
  for (const std::uint64_t command : {F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE}) {
    out.refuse_equal("fcntl", 1, command, kIoctlMask);
  }
}

/// A process that starts no others has nobody but itself to send signals to.
void no_processes(Builder& out, int pid) {
  const auto self = static_cast<std::uint64_t>(pid);
  out.refuse(kStartsProcesses);
  out.refuse_equal("clone", 0, 0, CLONE_THREAD);
  out.refuse_unless("kill", 0, self);
  out.refuse_unless("tgkill", 0, self);
  out.refuse_unless("rt_tgsigqueueinfo", 0, self);
}

/// Pairs of stream sockets stay, which asyncio and multiprocessing need. A datagram socket of a pair could still send
/// to any name.
void no_network(Builder& out) {
  out.refuse(kUsesNetwork);
  out.refuse_unless("sendto", 4, 0);
  out.refuse_unless("socketpair", 0, AF_UNIX);
  for (std::uint64_t type = 0; type <= kTypeMask; ++type) {
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET) out.refuse_equal("socketpair", 1, type, kTypeMask);
  }
}

/// TCP of IPv4 and IPv6; the ports are Landlock's business.
void only_tcp(Builder& out, bool listens) {
  static_assert(AF_INET == 2 && AF_INET6 == 10);
  for (std::uint64_t family = 0; family < AF_INET6; ++family) {
    if (family != AF_INET) out.refuse_equal("socket", 0, family);
  }
  out.refuse_above("socket", 0, AF_INET6);
  for (std::uint64_t type = 0; type <= kTypeMask; ++type) {
    if (type != SOCK_STREAM) out.refuse_equal("socket", 1, type, kTypeMask);
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET) out.refuse_equal("socketpair", 1, type, kTypeMask);
  }
  // Multipath TCP is another protocol, which Landlock does not restrict.
  for (std::uint64_t protocol = 1; protocol < kProtocolTcp; ++protocol) out.refuse_equal("socket", 2, protocol);
  out.refuse_above("socket", 2, kProtocolTcp);
  out.refuse_unless("socketpair", 0, AF_UNIX);
  out.refuse_unless("sendto", 4, 0);
  out.refuse_flag("sendmsg", 2, kFastOpen);
  out.refuse_flag("sendmmsg", 3, kFastOpen);
  // Without bind the kernel would choose a port.
  if (!listens) out.refuse({"listen", "bind"});
}

void no_changes_of_files(Builder& out) {
  out.refuse(kChangesFiles);
  out.missing("openat2");
  struct Opener {
    std::string_view name;
    unsigned flags;
  };
  for (const Opener& opener : {Opener{"open", 1}, Opener{"openat", 2}}) {
    for (const std::uint64_t mode : {O_WRONLY, O_RDWR, O_ACCMODE}) {
      out.refuse_equal(opener.name, opener.flags, mode, O_ACCMODE);
    }
    out.refuse_flag(opener.name, opener.flags, O_CREAT);
    out.refuse_flag(opener.name, opener.flags, O_TRUNC);
  }
}

}  // namespace

SyscallPolicy strict_policy(int pid) {
  Builder out;
  everywhere(out);
  no_processes(out, pid);
  no_network(out);
  no_changes_of_files(out);
  return out.take();
}

SyscallPolicy early_kernel_policy() { return {{.name = "io_uring_setup", .missing = true}}; }

SyscallPolicy kernel_policy(const SandboxRules& rules, int pid) {
  Builder out;
  everywhere(out);
  if (!rules.programs || rules.processes == 0) no_processes(out, pid);
  if (rules.network) {
    only_tcp(out, !rules.bind.empty());
  } else {
    no_network(out);
  }
  return out.take();
}

}  // namespace erlang_python
