#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace erlang_python {

/// A process as /proc/PID/stat shows it.
struct ProcessFacts {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  char state = '?';
  int threads = 0;
  unsigned long long started = 0;  ///< clock ticks since boot; with `pid` it names the process for ever
  std::string name;

  /// One whose first thread has ended looks like a zombie, but has other threads.
  [[nodiscard]] bool dead() const { return (state == 'Z' || state == 'X') && threads <= 1; }
};

/// The name of a process may hold anything, also parentheses and line ends.
[[nodiscard]] std::optional<ProcessFacts> parse_stat(std::string_view text);

/// All processes that /proc shows. It is read one after the other, so the list is no moment's truth.
[[nodiscard]] std::vector<ProcessFacts> all_processes();

/// The processes whose parent is the calling process, which has one thread; none where the kernel has no such list.
[[nodiscard]] std::vector<pid_t> own_children();

/// Which of `all` descend from those that `is_root` chooses, and with `kWithRoots` the roots too. A process that is
/// older than its parent is no child of it: the number of a dead parent has been given to somebody else.
enum class Roots : std::uint8_t { kWithout, kWith };
[[nodiscard]] std::vector<ProcessFacts> family(const std::vector<ProcessFacts>& all,
                                               const std::function<bool(const ProcessFacts&)>& is_root, Roots roots);

/// What became of a signal to a process.
enum class Signalled : std::uint8_t { kSent, kGone, kRefused };

/// Sends `signal_number` to exactly this process: one that has its number by now gets nothing. With SIGKILL, the group
/// that it leads gets it too, all at once, so that none of its members can start another meanwhile.
Signalled signal_process(const ProcessFacts& process, int signal_number);

/// The mark of a pool: a number that all processes of the pool carry, whatever they do about their session, their
/// parents and their environment. It is kept in a limit that children inherit, also over exec, that nobody needs
/// (RLIMIT_RTTIME, beyond a hundred thousand years), and that everybody may read. Where that limit is set already there
/// are no marks; a process that changes it on purpose has lost its mark.
using PoolMark = std::uint64_t;
constexpr PoolMark kNoMark = 0;
constexpr PoolMark kMaxMark = (PoolMark{1} << 61) - 1;

/// Marks the calling process and what it will start.
bool set_pool_mark(PoolMark mark);

/// The calling process is no part of the pool any more.
void clear_pool_mark();

[[nodiscard]] PoolMark pool_mark_of(pid_t pid);

}  // namespace erlang_python
