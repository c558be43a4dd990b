// Stands in the place of the port program and speaks to Erlang as a hostile one would (tests/fuzz/run_hostile).
//
// With a pool of another name than hostile..., and with --kill, it becomes the real program, $HOSTILE_REAL. Otherwise
// it answers INIT and what gets a pool up as docs/protocol.md says, and everything else as $HOSTILE_MODE says (acts.h);
// $HOSTILE_CORPUS is a recorded session. What it does is made from $HOSTILE_SEED and how often it was started, which is
// the size of the file $HOSTILE_STARTS.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acts.h"
#include "answers.h"
#include "chance.h"
#include "seen.h"

enum { kMaxIn = 4 << 20 };  // bytes of input that are kept

static uint64_t starts(const char* path) {
  const int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
  struct stat facts = {0};
  if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &facts) != 0) return 0;
  close(fd);
  return (uint64_t)facts.st_size;
}

// Waits for the child, and ends as it did.
static void keep(pid_t child) {
  close(STDOUT_FILENO);
  int status = 0;
  while (waitpid(child, &status, 0) != child) continue;
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
// As port/runtime/keeper.h: else Erlang takes the calling process for none that it has started, and opens no file of
// it.
static void start_below_keepers(void) {
  for (int left = 2; left > 0; --left) {
    alarm(180);  // it does not outlive a round by much
    const pid_t child = fork();
    if (child > 0) keep(child);
  }
  alarm(180);
}
// Does what every frame in the input asks for, and now and then something that nobody has asked for.
static void serve(enum Mode mode) {
  uint8_t* in = malloc(kMaxIn);
  size_t have = 0, skip = 0;
  for (;;) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&input, 1, 100);
    if (ready == 0 && one_in(10) && alias_count > 0) a_forged_frame();
    if (ready <= 0) continue;
    const ssize_t n = read(STDIN_FILENO, in + have, kMaxIn - have);
    if (n <= 0) {
      if (mode == kClosed || one_in(8))
        for (;;) pause();  // until it is killed
      free(in);
      return;
    }
    have += (size_t)n;
    size_t at = 0;
    for (;;) {
      if (skip > 0) {
        const size_t some = skip < have - at ? skip : have - at;
        at += some, skip -= some;
      }
      if (have - at < 4) break;
      const size_t length = (size_t)in[at] << 24 | (size_t)in[at + 1] << 16 | (size_t)in[at + 2] << 8 | in[at + 3];
      if (length > kMaxIn / 2) {
        at += 4, skip = length;
        continue;
      }
      if (have - at - 4 < length) break;
      request(in + at + 4, length);
      at += 4 + length;
    }
    memmove(in, in + at, have - at);
    have -= at;
  }
}

int main(int argc, char** argv) {
  const char* real = getenv("HOSTILE_REAL");
  if (argc < 3 || strncmp(argv[1], "hostile", 7) != 0) {
    if (real != NULL) execv(real, argv);
    fprintf(stderr, "hostile_port: HOSTILE_REAL is not the port program\n");
    return 2;
  }
  // The mark of the pool (port/runtime/process_tree.h): what Erlang kills it by.
  const rlim_t mark = ((rlim_t)1 << 62) + strtoull(argv[2], NULL, 10);
  setrlimit(RLIMIT_RTTIME, &(struct rlimit){mark, mark});
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  signal(SIGPIPE, SIG_IGN);
  const enum Mode mode = mode_named(getenv("HOSTILE_MODE"));
  set_mode(mode);
  const char* seed = getenv("HOSTILE_SEED");
  seed_chance((seed ? strtoull(seed, NULL, 10) : 1) * 1000003u + starts(getenv("HOSTILE_STARTS")) * 7919u + 1);
  read_corpus(getenv("HOSTILE_CORPUS"));
  if (one_in(4))
    alarm(180);
  else
    start_below_keepers();
  serve(mode);
  return 0;
}
