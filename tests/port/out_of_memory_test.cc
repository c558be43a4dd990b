// Whoever has no memory left ends the process with a sentence, and throws nothing that somebody below could catch.
#include "base/out_of_memory.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "base/unique_fd.h"
#include "sanitized.h"

using namespace erlang_python;

namespace {

struct End {
  int status = 0;
  std::string said;
};

/// How a child ends that does this, and catches everything.
End end_of(const std::function<void()>& act) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    setrlimit(RLIMIT_CORE, std::array<rlimit, 1>{}.data());
    std::signal(SIGABRT, SIG_DFL);
    dup2(write_end.get(), STDERR_FILENO);
    try {
      act();
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  write_end = UniqueFd();
  End end;
  std::array<char, 512> words{};
  for (ssize_t n = read(read_end.get(), words.data(), words.size()); n > 0;
       n = read(read_end.get(), words.data(), words.size())) {
    end.said.append(words.data(), static_cast<std::size_t>(n));
  }
  REQUIRE(waitpid(child, &end.status, 0) == child);
  return end;
}

void ask_for_too_much() {
  if (kSanitized) throw std::bad_alloc();
  volatile std::size_t most = std::numeric_limits<std::ptrdiff_t>::max();
  ::operator delete(::operator new(most));
}

/// As what is in CPython's tables.
// NOLINTNEXTLINE(bugprone-exception-escape)
void ask_for_too_much_from_c() noexcept { ask_for_too_much(); }

void fail() { throw std::runtime_error("another reason"); }

// NOLINTNEXTLINE(bugprone-exception-escape)
void fail_from_c() noexcept { fail(); }

}  // namespace

TEST_CASE("out of memory: the sentence says how much was refused") {
  const End end = end_of([] { end_out_of_memory(123'456); });
  CHECK(WIFSIGNALED(end.status));
  CHECK(WTERMSIG(end.status) == SIGABRT);
  CHECK(end.said.find("out of memory: the operating system refuses 123456 bytes") != std::string::npos);
  CHECK(end.said.back() == '\n');
}

TEST_CASE("out of memory: new ends the process too, in a function that may not throw") {
  const End end = end_of([] {
    end_when_out_of_memory();
    ask_for_too_much_from_c();
  });
  CHECK(WIFSIGNALED(end.status));
  CHECK(WTERMSIG(end.status) == SIGABRT);
  CHECK(end.said.find("out of memory") != std::string::npos);
}

TEST_CASE("out of memory: an extension module may catch its own std::bad_alloc") {
  const End end = end_of([] {
    end_when_out_of_memory();
    try {
      ask_for_too_much();
    } catch (const std::bad_alloc&) {
      _exit(7);
    }
  });
  CHECK(WIFEXITED(end.status));
  CHECK(WEXITSTATUS(end.status) == 7);
  CHECK(end.said.empty());
}

TEST_CASE("out of memory: what else nobody catches is not called that") {
  const End end = end_of([] {
    end_when_out_of_memory();
    fail_from_c();
  });
  CHECK(WIFSIGNALED(end.status));
  CHECK(end.said.find("another reason") != std::string::npos);
  CHECK(end.said.find("out of memory") == std::string::npos);
}
