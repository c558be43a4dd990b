// The part of Sandbox that asks the Linux kernel.

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "sandbox/all_threads.h"
#include "sandbox/landlock.h"
#include "sandbox/process_limit.h"
#include "sandbox/sandbox.h"
#include "sandbox/seccomp_filter.h"

namespace erlang_python {
namespace {

using namespace landlock;

constexpr std::uint64_t kReads = kReadFile | kReadDirectory;
constexpr std::uint64_t kPrograms = kReadFile | kReadDirectory | kExecute;
/// Devices may not be made anywhere: with one, root would reach the disk past all rules.
constexpr std::uint64_t kWrites = kWriteFile | kRemoveDirectory | kRemoveFile | kMakeDirectory | kMakeFile |
                                  kMakeSocket | kMakeFifo | kMakeSymbolicLink | kRefer | kTruncate;
constexpr std::uint64_t kAllWrites = kWrites | kMakeCharacterDevice | kMakeBlockDevice | kIoctlDevice;

/// What Python and its extensions read besides their own directories: shared libraries, time zones, certificates.
constexpr std::array kSystemFiles = {"/lib",
                                     "/lib32",
                                     "/lib64",
                                     "/libx32",
                                     "/usr/lib",
                                     "/usr/lib32",
                                     "/usr/lib64",
                                     "/usr/libx32",
                                     "/usr/local/lib",
                                     "/usr/local/lib64",
                                     "/etc/ld.so.cache",
                                     "/etc/ld.so.conf",
                                     "/etc/ld.so.conf.d",
                                     "/usr/share/zoneinfo",
                                     "/etc/localtime",
                                     "/etc/timezone",
                                     "/etc/ssl",
                                     "/etc/pki",
                                     "/etc/ca-certificates",
                                     "/usr/share/ca-certificates",
                                     "/dev/urandom",
                                     "/dev/random",
                                     "/dev/zero"};
/// What looking up names and services reads.
constexpr std::array kNetworkFiles = {"/etc/resolv.conf",   "/etc/hosts",    "/etc/host.conf",
                                      "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"};
/// The loaders of dynamic programs: the kernel wants the right to execute them as well.
constexpr std::array kLoaders = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1",
                                 "/lib/ld-linux-riscv64-lp64d.so.1"};

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

}  // namespace

Status Sandbox::confine_signals(std::uint64_t scopes) {
  // A domain that says nothing of moving files between directories forbids it as soon as one inside has rules for
  // files.
  const bool rules_follow = level_ == SandboxLevel::kKernel;
  auto ruleset = LandlockRuleset::create({.files = rules_follow ? kRefer : 0, .ports = 0, .scopes = scopes});
  if (!ruleset) return ruleset.error();
  if (rules_follow) {
    if (Status allowed = ruleset->allow_path("/", kRefer); !allowed) return allowed;
  }
  int refused = restrict_this_thread(ruleset->fd());
  if (refused == EPERM) {
    // Without privileges the kernel asks for the promise that no program that is started will get any (sudo, ping).
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error{std::strerror(errno)};
    refused = restrict_this_thread(ruleset->fd());
  }
  if (refused != 0) return Error{std::string("landlock_restrict_self: ") + std::strerror(refused)};
  return {};
}

Status Sandbox::confine_process() {
  if (level_ == SandboxLevel::kOff) return {};
  const bool kernel = level_ == SandboxLevel::kKernel;
  const bool scoped =
      landlock::abi() >= kScopesAbi && confine_signals(kScopeSignals | (kernel ? kScopeAbstractSockets : 0));
  if (scoped) confined_.push_back("signals");
  if (level_ == SandboxLevel::kStrict) {
    if (!scoped) confined_.push_back("signals");  // by seccomp
    confined_.push_back("syscalls");
    if (drop_capabilities() != 0 || !install_seccomp_filter(strict_policy(getpid()))) {
      return Error{"sandbox_unavailable: seccomp"};
    }
  }
  if (kernel) {
    if (!scoped) return Error{"sandbox_unavailable: landlock"};
    if (!install_seccomp_filter(early_kernel_policy())) return Error{"sandbox_unavailable: seccomp"};
    for (const std::string_view what : {"abstract_sockets", "files", "network", "syscalls"}) confined_.push_back(what);
  }
  return {};
}

std::vector<std::string> Sandbox::readable() const {
  std::vector<std::string> paths = rules_.read;
  if (import_roots_) paths.insert(paths.end(), import_roots_->begin(), import_roots_->end());
  for (const char* path : kSystemFiles) {
    if (exists(path)) paths.emplace_back(path);
  }
  for (const char* path : kNetworkFiles) {
    if (rules_.network && exists(path)) paths.emplace_back(path);
  }
  return paths;
}

Status Sandbox::apply_rules() {
  const std::uint64_t ports = kBindTcp | kConnectTcp;
  auto ruleset = LandlockRuleset::create(
      {.files = kAllWrites | kExecute | (rules_.read_all ? 0 : kReads), .ports = ports, .scopes = 0});
  if (!ruleset) return ruleset.error();
  const std::uint64_t reads = rules_.read_all ? 0 : kReads;
  const auto allow = [&](const std::vector<std::string>& paths, std::uint64_t rights) -> Status {
    for (const std::string& path : paths) {
      if (Status allowed = ruleset->allow_path(path, rights); !allowed) return allowed;
    }
    return {};
  };
  if (reads != 0) {
    if (Status allowed = allow(readable(), reads); !allowed) return allowed;
    // A rule is about the directory as the kernel has it in memory; it stays there while it is open.
    own_proc_ = UniqueFd(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (Status allowed = ruleset->allow_path("/proc/self", reads); !allowed) return allowed;
  }
  if (Status allowed = ruleset->allow_path("/dev/null", reads | kWriteFile | kTruncate); !allowed) return allowed;
  if (Status allowed = allow(rules_.write, reads | kWrites); !allowed) return allowed;
  if (rules_.programs) {
    const std::uint64_t rights = rules_.read_all ? kExecute : kPrograms;
    if (Status allowed = allow(rules_.exec, rights); !allowed) return allowed;
    for (const char* loader : kLoaders) {
      if (!exists(loader)) continue;
      if (Status allowed = ruleset->allow_path(loader, rights); !allowed) return allowed;
    }
  }
  for (const std::uint16_t port : rules_.connect) {
    if (Status allowed = ruleset->allow_port(port, kConnectTcp); !allowed) return allowed;
  }
  for (const std::uint16_t port : rules_.bind) {
    if (Status allowed = ruleset->allow_port(port, kBindTcp); !allowed) return allowed;
  }
  constexpr rlimit kNoCore{0, 0};
  if (setrlimit(RLIMIT_CORE, &kNoCore) != 0) return Error{std::string("setrlimit: ") + std::strerror(errno)};
  if (rules_.programs && rules_.processes && *rules_.processes > 0) {
    if (Status limited = limit_processes(*rules_.processes); !limited) return limited;
  }
  // Landlock first: the filter refuses what that needs.
  if (Status restricted = restrict_all_threads(ruleset->fd()); !restricted) return restricted;
  if (Status filtered = install_seccomp_filter(kernel_policy(rules_, getpid())); !filtered) {
    return Error{"seccomp: " + filtered.error().message};
  }
  return {};
}

}  // namespace erlang_python
