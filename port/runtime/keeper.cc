#include "runtime/keeper.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"

namespace erlang_python {
namespace {

// Long enough for a busy BEAM to take notice of SIGCHLD, short enough for nobody to notice.
constexpr long kLingerNs = 300'000'000;
// How long the Python process has to leave by itself when the node is gone.
constexpr std::int64_t kNodeGoneNs = 1'000 * kNsPerMs;
// How long Python's children have after SIGTERM, when the pool was stopped in order.
constexpr std::int64_t kPoliteNs = 500 * kNsPerMs;
// How long nobody must have died before what is left is given up: the kernel holds it fast (a dead file server).
constexpr std::int64_t kStuckNs = 2'000 * kNsPerMs;
constexpr std::int64_t kSweepNs = 30'000 * kNsPerMs;
// How long `--kill` leaves keepers to do their work.
constexpr std::int64_t kKeepersNs = 500 * kNsPerMs;
constexpr std::int64_t kRoundNs = 1 * kNsPerMs;
constexpr long kKillRoundNs = 5 * kNsPerMs;
constexpr std::int64_t kNsPerSecond = 1'000 * kNsPerMs;
// The first descriptor of those that close_range(2) may not be there for.
constexpr int kInheritedFds = 256;

constexpr char kKeeperName[] = "py_keeper";

enum class Level : std::uint8_t { kOuter, kInner };

void close_descriptors_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  for (int fd = first; fd < kInheritedFds; ++fd) close(fd);
}

/// The number of the next signal, 0 when none came for so long. All signals are blocked.
int wait_for_signal(std::int64_t timeout_ns) {
  sigset_t all;
  sigfillset(&all);
  const timespec timeout{timeout_ns / kNsPerSecond, timeout_ns % kNsPerSecond};
  const int number = timeout_ns < 0 ? sigwaitinfo(&all, nullptr) : sigtimedwait(&all, nullptr, &timeout);
  return number > 0 ? number : 0;
}

std::vector<ProcessFacts> descendants(pid_t pid) {
  return family(
      all_processes(), [pid](const ProcessFacts& process) { return process.pid == pid; }, Roots::kWithout);
}

class Keeper {
 public:
  Keeper(Level level, pid_t parent, pid_t child) : level_(level), parent_(parent), child_(child) {}

  [[noreturn]] void run();

 private:
  /// Takes what children have to say. False when there are no children.
  bool reap();
  [[nodiscard]] bool parent_is_gone() const { return getppid() != parent_; }
  /// Erlang has closed the port, or is gone.
  [[nodiscard]] static bool input_has_ended();
  [[noreturn]] void leave();
  void ask_orphans_to_leave();
  void sweep();
  enum class Outcome : std::uint8_t { kNothing, kSent, kRefused };
  static Outcome kill_children();
  void hold_input_a_moment_longer() const;

  const Level level_;
  const pid_t parent_;
  const pid_t child_;
  bool child_ended_ = false;
  std::size_t reaped_ = 0;
  int status_ = 128 + SIGKILL;  ///< to exit with
};

void Keeper::run() {
  prctl(PR_SET_NAME, kKeeperName);
  prctl(PR_SET_DUMPABLE, 0);  // Python, which has the same user, shall not trace it
  // Standard output above all: the BEAM reports the exit status when the last writer of that pipe is gone.
  close_descriptors_from(STDOUT_FILENO);
  std::int64_t leave_ns = 0;
  for (;;) {
    reap();
    if (child_ended_) leave();
    const std::int64_t left_ns = leave_ns == 0 ? -1 : std::max<std::int64_t>(leave_ns - now_ns(), 0);
    switch (wait_for_signal(left_ns)) {
      case 0:
        if (leave_ns != 0 && now_ns() >= leave_ns) leave();
        break;
      case SIGTERM:
      case SIGINT:
      case SIGHUP:
      case SIGQUIT:
        status_ = 128 + SIGTERM;
        // When the node is gone Python's input has ended, and it leaves by itself, with what that takes.
        if (level_ == Level::kInner || !parent_is_gone()) leave();
        if (leave_ns == 0) leave_ns = now_ns() + kNodeGoneNs;
        break;
      default:
        break;
    }
  }
}

bool Keeper::reap() {
  for (;;) {
    // The outer keeper is told of stops too: nobody but Python stops the inner one.
    const int stops = level_ == Level::kOuter ? WSTOPPED : 0;
    siginfo_t child{};
    if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT | stops) != 0) return errno != ECHILD;
    if (child.si_pid == 0) return true;
    const bool stopped = child.si_code == CLD_STOPPED;
    // The number of the group is in nobody else's hands until its leader is waited for.
    if (child.si_pid == child_ && !stopped && !input_has_ended()) kill(-child_, SIGKILL);
    int status = 0;
    if (waitpid(child.si_pid, &status, WNOHANG | (stopped ? WUNTRACED : 0)) != child.si_pid) continue;
    if (!WIFSTOPPED(status)) ++reaped_;
    if (child.si_pid != child_) continue;
    if (WIFSTOPPED(status)) {
      kill(child_, SIGCONT);
    } else {
      child_ended_ = true;
      status_ = exit_status_of(status);
    }
  }
}

bool Keeper::input_has_ended() {
  pollfd input{STDIN_FILENO, 0, 0};
  return poll(&input, 1, 0) > 0 && (input.revents & POLLHUP) != 0;
}

void Keeper::leave() {
  if (child_ended_ && input_has_ended()) ask_orphans_to_leave();
  sweep();
  if (!parent_is_gone()) {
    if (level_ == Level::kOuter) hold_input_a_moment_longer();
    // Python may have stopped it. Nobody is left who could do so again.
    if (level_ == Level::kInner) kill(parent_, SIGCONT);
  }
  _exit(status_);
}

void Keeper::ask_orphans_to_leave() {
  if (!reap()) return;
  for (const ProcessFacts& process : descendants(getpid())) {
    // The Python process has told its group already, and some programs take a second SIGTERM for impatience.
    if (process.group != child_) signal_process(process, SIGTERM);
  }
  const std::int64_t end_ns = now_ns() + kPoliteNs;
  while (reap() && now_ns() < end_ns) wait_for_signal(end_ns - now_ns());
}

/// An orphan becomes our child, so the whole tree is peeled from its top, until we have no children. Nothing comes
/// between the look at a child and the signal to it: a process that forks and leaves all the time is met sooner or
/// later.
void Keeper::sweep() {
  setpriority(PRIO_PROCESS, 0, -20);  // a storm of forks must not keep us from the processor; needs a privilege
  const int status = status_;
  const std::int64_t end_ns = now_ns() + kSweepNs;
  std::int64_t give_up_ns = now_ns() + kStuckNs;
  for (std::int64_t time = now_ns(); time < std::min(end_ns, give_up_ns); time = now_ns()) {
    const std::size_t reaped = reaped_;
    if (!reap()) break;
    if (reaped != reaped_) give_up_ns = time + kStuckNs;
    const Outcome outcome = kill_children();
    if (outcome == Outcome::kRefused) break;  // programs that run as another user
    if (outcome == Outcome::kNothing || reaped == reaped_) wait_for_signal(kRoundNs);
  }
  status_ = status;
}

Keeper::Outcome Keeper::kill_children() {
  Outcome outcome = Outcome::kNothing;
  const auto killed = [&outcome](bool sent) {
    if (sent) {
      outcome = Outcome::kSent;
    } else if (outcome == Outcome::kNothing) {
      outcome = Outcome::kRefused;
    }
  };
  const std::vector<pid_t> children = own_children();
  for (const pid_t child : children) {
    // Until we wait for it, its number is nobody else's; nor is that of the group that it leads, if it does.
    kill(-child, SIGKILL);
    killed(kill(child, SIGKILL) == 0);
  }
  if (outcome == Outcome::kSent) return outcome;
  // There is no list of children, or they run as another user, which their own children need not do.
  for (const ProcessFacts& process : descendants(getpid())) {
    killed(signal_process(process, SIGKILL) != Signalled::kRefused);
  }
  return outcome;
}

void Keeper::hold_input_a_moment_longer() const {
  // A sibling, not a child: the BEAM's erl_child_setup waits for any child it has, while an orphan would stay a zombie
  // in a container whose first process waits for nobody.
  const long sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (sibling != 0) return;
  setsid();
  clear_pool_mark();  // it is no part of the pool: nobody needs to kill it
  const timespec linger{0, kLingerNs};
  nanosleep(&linger, nullptr);
  _exit(0);
}

/// Makes the calling process a keeper and returns in its child.
Status split(Level level) {
  const pid_t parent = getppid();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child < 0) return Error{std::string("the Python process cannot be started: fork: ") + strerror(errno)};
  if (child > 0) {
    if (level == Level::kInner) setpgid(child, child);
    Keeper(level, parent, child).run();
  }
  prctl(PR_SET_PDEATHSIG, level == Level::kOuter ? SIGTERM : SIGKILL);
  if (getppid() != self) _exit(1);  // it has died before we asked to be told
  return {};
}

}  // namespace

Status start_below_keepers(PoolMark mark) {
  set_pool_mark(mark);
  setpgid(0, 0);  // where erl_child_setup has not done so
  // All of the keepers' signals wait until they are asked for. SIGCHLD must not be ignored, or there is no status.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  signal(SIGCHLD, SIG_DFL);
  // The end of the node is the end of erl_child_setup. One that has ended already shows as the end of the input.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  Status started = split(Level::kOuter);
  if (started) {
    // Its own session: Python's children, which share it, can join no process group of the node.
    setsid();
    started = split(Level::kInner);
  }
  setpgid(0, 0);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return started;
}

int exit_status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int kill_pool(const char* keeper_text, const char* mark_text) {
  const auto keeper = static_cast<pid_t>(std::strtol(keeper_text, nullptr, 10));
  const PoolMark mark = std::strtoull(mark_text, nullptr, 10);
  if (keeper < 0 || mark > kMaxMark || (keeper == 0 && mark == kNoMark)) return 2;
  setpriority(PRIO_PROCESS, 0, -20);
  // Where marks cannot be set, the keeper is known by its name, and its number may be another pool's by now.
  const auto is_member = [keeper, mark](const ProcessFacts& process) {
    const PoolMark found = pool_mark_of(process.pid);
    if (mark != kNoMark && found == mark) return true;
    return process.pid == keeper && found == kNoMark && process.name == kKeeperName;
  };
  // Keepers that are left alone do it better, and hand on what Python died of; those that were stopped go on first.
  const auto is_keeper = [keeper](const ProcessFacts& process) {
    return process.pid == keeper || process.name == kKeeperName;
  };
  const std::int64_t begin_ns = now_ns();
  for (;;) {
    const std::int64_t passed_ns = now_ns() - begin_ns;
    const bool by_force = passed_ns > kKeepersNs;
    bool left = false;
    for (const ProcessFacts& process : family(all_processes(), is_member, Roots::kWith)) {
      if (process.dead()) continue;
      left = true;
      signal_process(process, is_keeper(process) && !by_force ? SIGCONT : SIGKILL);
    }
    if (!left) return 0;
    if (passed_ns > kKeepersNs + kStuckNs) return 1;
    const timespec pause{0, kKillRoundNs};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace erlang_python
