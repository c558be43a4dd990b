#include "runtime/stdin_keeper.h"

#include <fcntl.h>
#include <sys/wait.h>
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
  const pid_t between = fork();
  if (between == 0) {
    // Forked twice, so that Python's os.wait() never meets it.
    close(watch[1]);
    if (fork() == 0) keep(watch[0]);
    _exit(0);
  }
  close(watch[0]);
  if (between < 0) {
    close(watch[1]);
    return;
  }
  while (waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace erlang_python
