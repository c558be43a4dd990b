#include "runtime/stdin_keeper.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace erlang_python {
namespace {

// Long enough for a busy BEAM to take notice of SIGCHLD, short enough for nobody to notice the keeper.
constexpr long kLingerNs = 300'000'000;
// Descriptors beyond are not in use this early.
constexpr int kInheritedFds = 256;

[[noreturn]] void keep(int death_watch) {
  setsid();
  // Standard output above all: the BEAM reports the exit status when the last writer of that pipe is gone.
  for (int fd = STDOUT_FILENO; fd < kInheritedFds; ++fd) {
    if (fd != death_watch) close(fd);
  }
  // The other end is closed by nothing but the end of the process, and is not inherited by programs that it runs.
  char byte = 0;
  while (read(death_watch, &byte, 1) < 0 && errno == EINTR) {
  }
  const timespec linger{0, kLingerNs};
  nanosleep(&linger, nullptr);
  _exit(0);
}

}  // namespace

void keep_stdin_past_death() {
  std::array<int, 2> watch{};
  if (pipe2(watch.data(), O_CLOEXEC) != 0) return;
  // A sibling, not a child: the BEAM's erl_child_setup waits for any child it has, while an orphan would stay a zombie
  // in a container whose first process waits for nobody; and Python's os.wait() never meets it.
  const long sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (sibling == 0) {
    close(watch[1]);
    keep(watch[0]);
  }
  close(watch[0]);
  if (sibling < 0) close(watch[1]);
}

}  // namespace erlang_python
