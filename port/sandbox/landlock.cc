#include "sandbox/landlock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace erlang_python {
namespace {

// The same on all architectures but alpha.
#ifdef SYS_landlock_create_ruleset
constexpr long kCreateRuleset = SYS_landlock_create_ruleset;
constexpr long kAddRule = SYS_landlock_add_rule;
constexpr long kRestrictSelf = SYS_landlock_restrict_self;
#else
constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
#endif

constexpr unsigned kVersionFlag = 1;
constexpr int kPathBeneath = 1;
constexpr int kNetPort = 2;

struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};
struct [[gnu::packed]] PathBeneath {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};
struct NetPort {
  std::uint64_t allowed_access;
  std::uint64_t port;
};

constexpr std::uint64_t kFileRights =
    landlock::kExecute | landlock::kWriteFile | landlock::kReadFile | landlock::kTruncate | landlock::kIoctlDevice;

Error failed(const std::string& what) { return Error{what + ": " + std::strerror(errno)}; }

}  // namespace

int landlock::abi() {
  const long version = syscall(kCreateRuleset, nullptr, 0, kVersionFlag);
  return version > 0 ? static_cast<int>(version) : 0;
}

int landlock::restrict_this_thread(int ruleset) noexcept { return syscall(kRestrictSelf, ruleset, 0) == 0 ? 0 : errno; }

Result<LandlockRuleset> LandlockRuleset::create(const Handled& handled) {
  const RulesetAttributes attributes{handled.files, handled.ports, handled.scopes};
  const long fd = syscall(kCreateRuleset, &attributes, sizeof attributes, 0);
  if (fd < 0) return failed("landlock_create_ruleset");
  return LandlockRuleset(UniqueFd(static_cast<int>(fd)));  // the kernel sets CLOEXEC
}

Status LandlockRuleset::allow_path(const std::string& path, std::uint64_t rights) {
  const UniqueFd place(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat status {};
  if (place.get() < 0 || fstat(place.get(), &status) != 0) return failed(path);
  if (!S_ISDIR(status.st_mode)) rights &= kFileRights;
  const PathBeneath rule{rights, place.get()};
  if (syscall(kAddRule, fd_.get(), kPathBeneath, &rule, 0) != 0) return failed("landlock_add_rule, " + path);
  return {};
}

Status LandlockRuleset::allow_port(std::uint16_t port, std::uint64_t rights) {
  const NetPort rule{rights, port};
  if (syscall(kAddRule, fd_.get(), kNetPort, &rule, 0) != 0) {
    return failed("landlock_add_rule, port " + std::to_string(port));
  }
  return {};
}

}  // namespace erlang_python
