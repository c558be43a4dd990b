#include "sandbox/all_threads.h"

#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sandbox/landlock.h"

namespace erlang_python {
namespace {

// glibc's own signal for setuid in all threads. Libraries that run threads of their own (ZeroMQ, librdkafka) block all
// signals there, but glibc lets nobody block this one. It is lent from glibc for some milliseconds.
#if defined(__GLIBC__)
constexpr int kSignal = 33;
#else
const int kSignal = SIGRTMAX;
#endif
constexpr std::int64_t kPatienceNs = 5'000 * kNsPerMs;
constexpr timespec kPause{0, 50'000};

// A signal handler has no argument of its own.
std::atomic<int> ruleset_to_apply = -1;
std::atomic<int> answered_by = 0;  ///< the thread whose handler ran last
std::atomic<int> answered_with = 0;

int own_tid() { return static_cast<int>(syscall(SYS_gettid)); }

void on_signal(int) {
  const int saved = errno;
  answered_with = restrict_calling_thread(ruleset_to_apply);
  answered_by = own_tid();
  errno = saved;
}

/// The kernel's own struct sigaction: an opaque piece of memory here, since it is only copied.
using KernelAction = std::array<std::uint64_t, 16>;
constexpr std::size_t kSignalSetBytes = 8;

long kernel_sigaction(int number, const KernelAction* next, KernelAction* previous) {
  return syscall(SYS_rt_sigaction, number, next, previous, kSignalSetBytes);
}

/// The handler of kSignal, for the time being. libc refuses to set that one, so an action that it made for another
/// signal, with the return path that the architecture needs, is copied.
class Handler {
 public:
  Handler() {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    KernelAction made{};
    if (sigaction(SIGRTMAX, &action, &before) != 0) return;
    installed_ = kernel_sigaction(SIGRTMAX, nullptr, &made) == 0 && kernel_sigaction(kSignal, nullptr, &before_) == 0;
    if (SIGRTMAX != kSignal) sigaction(SIGRTMAX, &before, nullptr);
    installed_ = installed_ && kernel_sigaction(kSignal, &made, nullptr) == 0;
  }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  ~Handler() {
    if (installed_) kernel_sigaction(kSignal, &before_, nullptr);
  }
  bool installed() const { return installed_; }

 private:
  bool installed_ = false;
  KernelAction before_{};
};

std::vector<int> threads() {
  std::vector<int> tids;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/task"), closedir);
  if (!directory) return tids;
  while (const dirent* entry = readdir(directory.get())) {
    if (const int tid = std::atoi(entry->d_name); tid > 0) tids.push_back(tid);
  }
  return tids;
}

/// A thread that ended meanwhile needs no restriction.
Status restrict_thread(int tid) {
  const long pid = getpid();
  answered_by = 0;
  if (syscall(SYS_tgkill, pid, tid, kSignal) != 0) return {};
  const std::int64_t give_up = now_ns() + kPatienceNs;
  while (answered_by != tid) {
    if (syscall(SYS_tgkill, pid, tid, 0) != 0) return {};
    if (now_ns() > give_up) return Error{"thread " + std::to_string(tid) + " takes no signals"};
    nanosleep(&kPause, nullptr);
  }
  if (answered_with != 0) return Error{std::string("landlock_restrict_self: ") + std::strerror(answered_with)};
  return {};
}

}  // namespace

int drop_capabilities() noexcept {
  constexpr std::uint32_t kKept = (1U << CAP_DAC_OVERRIDE) | (1U << CAP_NET_BIND_SERVICE);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return errno;
  for (auto& set : sets) set.inheritable = 0;
  sets[0].effective &= kKept;
  sets[0].permitted &= kKept;
  sets[1].effective = sets[1].permitted = 0;
  return syscall(SYS_capset, &header, sets.data()) == 0 ? 0 : errno;
}

int restrict_calling_thread(int landlock_ruleset) noexcept {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (const int refused = landlock::restrict_this_thread(landlock_ruleset)) return refused;
  return drop_capabilities();
}

Status restrict_all_threads(int landlock_ruleset) {
  ruleset_to_apply = landlock_ruleset;
  const Handler handler;
  if (!handler.installed()) return Error{"no signal handler for the threads"};
  if (const int refused = restrict_calling_thread(landlock_ruleset)) {
    return Error{std::string("landlock_restrict_self: ") + std::strerror(refused)};
  }
  std::set<int> done{own_tid()};
  // A thread that was not restricted yet may have started another one behind our back: until a look finds none.
  for (bool found = true; found;) {
    found = false;
    const std::vector<int> alive = threads();
    if (alive.empty()) return Error{"/proc/self/task cannot be read"};
    for (const int tid : alive) {
      if (!done.insert(tid).second) continue;
      found = true;
      if (Status restricted = restrict_thread(tid); !restricted) return restricted;
    }
  }
  return {};
}

}  // namespace erlang_python
