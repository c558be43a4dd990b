#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace erlang_python {

/// Landlock by its system calls (linux/landlock.h of Debian 12 is older than the kernels that matter here).
/// The numbers are the kernel's: https://docs.kernel.org/userspace-api/landlock.html.
namespace landlock {

constexpr std::uint64_t kExecute = 1U << 0U;
constexpr std::uint64_t kWriteFile = 1U << 1U;
constexpr std::uint64_t kReadFile = 1U << 2U;
constexpr std::uint64_t kReadDirectory = 1U << 3U;
constexpr std::uint64_t kRemoveDirectory = 1U << 4U;
constexpr std::uint64_t kRemoveFile = 1U << 5U;
constexpr std::uint64_t kMakeCharacterDevice = 1U << 6U;
constexpr std::uint64_t kMakeDirectory = 1U << 7U;
constexpr std::uint64_t kMakeFile = 1U << 8U;
constexpr std::uint64_t kMakeSocket = 1U << 9U;
constexpr std::uint64_t kMakeFifo = 1U << 10U;
constexpr std::uint64_t kMakeBlockDevice = 1U << 11U;
constexpr std::uint64_t kMakeSymbolicLink = 1U << 12U;
constexpr std::uint64_t kRefer = 1U << 13U;        ///< ABI 2
constexpr std::uint64_t kTruncate = 1U << 14U;     ///< ABI 3
constexpr std::uint64_t kIoctlDevice = 1U << 15U;  ///< ABI 5

constexpr std::uint64_t kBindTcp = 1U << 0U;  ///< ABI 4
constexpr std::uint64_t kConnectTcp = 1U << 1U;

constexpr std::uint64_t kScopeAbstractSockets = 1U << 0U;  ///< ABI 6
constexpr std::uint64_t kScopeSignals = 1U << 1U;

/// The first ABI that has scopes.
constexpr int kScopesAbi = 6;

/// The version that the kernel offers; 0 when it has no Landlock or it was disabled.
int abi();

/// Restricts the calling thread, and the threads and processes that it starts from now on; 0 or an errno. The thread
/// needs no_new_privs or CAP_SYS_ADMIN. May be called in a signal handler.
int restrict_this_thread(int ruleset) noexcept;

}  // namespace landlock

/// A set of restrictions, in force once threads have restricted themselves with it.
class LandlockRuleset {
 public:
  struct Handled {
    std::uint64_t files = 0;   ///< refused unless a rule allows it
    std::uint64_t ports = 0;   ///< likewise
    std::uint64_t scopes = 0;  ///< refused to reach processes outside
  };

  static Result<LandlockRuleset> create(const Handled& handled);

  /// Allows these rights on a file, or on a directory and all below it. Those that only directories have are left out
  /// for a file.
  Status allow_path(const std::string& path, std::uint64_t rights);
  Status allow_port(std::uint16_t port, std::uint64_t rights);

  int fd() const { return fd_.get(); }

 private:
  explicit LandlockRuleset(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace erlang_python
