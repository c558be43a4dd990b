// Who descends from whom is read from /proc as it is, and a signal reaches the process that was meant and nobody else.
#include "runtime/process_tree.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "runtime/keeper.h"

using namespace erlang_python;

namespace {

ProcessFacts process(pid_t pid, pid_t parent, unsigned long long started) {
  ProcessFacts facts;
  facts.pid = pid;
  facts.parent = parent;
  facts.started = started;
  facts.state = 'S';
  facts.threads = 1;
  return facts;
}

std::vector<pid_t> pids_below(pid_t root, const std::vector<ProcessFacts>& all, Roots roots = Roots::kWithout) {
  std::vector<pid_t> pids;
  for (const auto& facts : family(
           all, [root](const ProcessFacts& one) { return one.pid == root; }, roots)) {
    pids.push_back(facts.pid);
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

/// A child that waits for a signal, in a session of its own, and a child of that.
struct Family {
  pid_t child = 0;
  pid_t grandchild = 0;

  Family() {
    std::array<int, 2> ends{};
    REQUIRE(pipe(ends.data()) == 0);
    child = fork();
    if (child == 0) {
      setsid();
      const pid_t own = fork();
      if (own == 0) setsid();
      if (own != 0 && write(ends[1], &own, sizeof own) != sizeof own) _exit(1);
      for (;;) pause();
    }
    REQUIRE(child > 0);
    REQUIRE(read(ends[0], &grandchild, sizeof grandchild) == sizeof grandchild);
    close(ends[0]);
    close(ends[1]);
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() {
    kill(grandchild, SIGKILL);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
};

ProcessFacts facts_of(pid_t pid) {
  for (const ProcessFacts& facts : all_processes()) {
    if (facts.pid == pid) return facts;
  }
  return {};
}

}  // namespace

TEST_CASE("stat is read behind a name that looks like the rest of the line") {
  const std::string numbers = " 12 34 5 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 3 0 98765 1000 50 18446744073709551615";
  const auto facts = parse_stat("77 (a) R 1 (b\n) c) S" + numbers);
  REQUIRE(facts);
  CHECK(facts->pid == 77);
  CHECK(facts->name == "a) R 1 (b\n) c");
  CHECK(facts->state == 'S');
  CHECK(facts->parent == 12);
  CHECK(facts->group == 34);
  CHECK(facts->threads == 3);
  CHECK(facts->started == 98765);
  CHECK_FALSE(facts->dead());
}

TEST_CASE("what is no stat is refused") {
  for (const char* text : {"", "1", "1 (", "1 (a", "1 (a)", "1 (a) S", "1 (a) S 2 3", "x (a) S 1 1 1 1 1 1",
                           "0 (a) S 12 34 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 98765"}) {
    CHECK_FALSE(parse_stat(text));
  }
}

TEST_CASE("a process whose first thread has ended is alive") {
  ProcessFacts facts = process(5, 1, 1);
  facts.state = 'Z';
  facts.threads = 2;
  CHECK_FALSE(facts.dead());
  facts.threads = 1;
  CHECK(facts.dead());
}

TEST_CASE("descendants of every degree are found, in whatever order they are listed") {
  const std::vector<ProcessFacts> all = {process(9, 8, 50), process(1, 0, 0),  process(8, 7, 40), process(7, 1, 30),
                                         process(6, 1, 20), process(5, 6, 25), process(4, 9, 60)};
  CHECK(pids_below(7, all) == std::vector<pid_t>{4, 8, 9});
  CHECK(pids_below(7, all, Roots::kWith) == std::vector<pid_t>{4, 7, 8, 9});
  CHECK(pids_below(6, all) == std::vector<pid_t>{5});
  CHECK(pids_below(3, all).empty());
  CHECK(pids_below(7, {}).empty());
}

TEST_CASE("a process that is older than its parent is no child of it") {
  const std::vector<ProcessFacts> all = {process(7, 1, 30), process(8, 7, 29), process(9, 7, 30)};
  CHECK(pids_below(7, all) == std::vector<pid_t>{9});
}

TEST_CASE("a list that is no moment's truth and goes round in a circle is no trap") {
  const std::vector<ProcessFacts> all = {process(3, 4, 1), process(4, 5, 1), process(5, 3, 1), process(6, 6, 1),
                                         process(7, 3, 1)};
  CHECK(pids_below(1, all).empty());
  CHECK(pids_below(6, all).empty());
  CHECK(pids_below(5, all) == std::vector<pid_t>{3, 4, 7});
}

TEST_CASE("real processes in sessions of their own are found and killed") {
  const Family made;
  CHECK(pids_below(getpid(), all_processes()) ==
        std::vector<pid_t>{std::min(made.child, made.grandchild), std::max(made.child, made.grandchild)});
  const auto children = own_children();
  CHECK((children.empty() || children == std::vector<pid_t>{made.child}));
  const ProcessFacts child = facts_of(made.child);
  CHECK(signal_process(child, SIGKILL) == Signalled::kSent);
  int status = 0;
  CHECK(waitpid(made.child, &status, 0) == made.child);
  CHECK(exit_status_of(status) == 128 + SIGKILL);
  CHECK(signal_process(child, SIGKILL) == Signalled::kGone);
}

TEST_CASE("a process that has got the number of the one that was meant gets no signal") {
  const Family made;
  ProcessFacts predecessor = facts_of(made.child);
  predecessor.started -= 1;
  CHECK(signal_process(predecessor, SIGKILL) == Signalled::kGone);
  CHECK(kill(made.child, 0) == 0);
  CHECK_FALSE(facts_of(made.child).dead());
}

TEST_CASE("SIGKILL for a leader is SIGKILL for its group") {
  const pid_t leader = fork();
  if (leader == 0) {
    setpgid(0, 0);
    for (;;) pause();
  }
  setpgid(leader, leader);
  const pid_t member = fork();
  if (member == 0) {
    for (;;) pause();
  }
  REQUIRE(setpgid(member, leader) == 0);
  CHECK(signal_process(facts_of(leader), SIGKILL) == Signalled::kSent);
  int status = 0;
  CHECK(waitpid(member, &status, 0) == member);
  CHECK(exit_status_of(status) == 128 + SIGKILL);
  CHECK(waitpid(leader, &status, 0) == leader);
}

TEST_CASE("a mark is inherited by whatever is started, and is nobody else's") {
  const pid_t marked = fork();
  if (marked == 0) {
    const bool done = set_pool_mark(12345) && pool_mark_of(getpid()) == 12345;
    if (!done) _exit(2);
    execl("/bin/sh", "sh", "-c", "exec env -i sh -c 'kill -STOP $$'", nullptr);
    _exit(3);
  }
  int status = 0;
  REQUIRE(waitpid(marked, &status, WUNTRACED) == marked);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
    MESSAGE("this machine limits RLIMIT_RTTIME, so there are no marks");
    return;
  }
  REQUIRE(WIFSTOPPED(status));
  CHECK(pool_mark_of(marked) == 12345);
  CHECK(pool_mark_of(getpid()) == kNoMark);
  CHECK_FALSE(set_pool_mark(kNoMark));
  CHECK_FALSE(set_pool_mark(kMaxMark + 1));
  kill(marked, SIGKILL);
  CHECK(waitpid(marked, &status, 0) == marked);
}

TEST_CASE("exit statuses are those that a shell would give") {
  CHECK(exit_status_of(3 << 8) == 3);
  CHECK(exit_status_of(SIGSEGV) == 128 + SIGSEGV);
  CHECK(exit_status_of(SIGABRT | 0x80) == 128 + SIGABRT);  // with a core file
}
