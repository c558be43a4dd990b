#include "runtime/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <unordered_map>

#include "base/unique_fd.h"

namespace erlang_python {
namespace {

// Marks lie far above every limit that is meant (in microseconds), and below "unlimited".
constexpr rlim_t kMarkBase = rlim_t{1} << 62;
static_assert(sizeof(rlim_t) == 8);

template <typename Number>
bool take_number(std::string_view& text, Number& number) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

/// `directory` is /proc or /proc/PID, `path` leads from there to a file `stat`.
std::optional<ProcessFacts> read_stat(int directory, const std::string& path) {
  const UniqueFd file(openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::array<char, 1024> text;
  const ssize_t n = read(file.get(), text.data(), text.size());
  if (n <= 0) return std::nullopt;
  return parse_stat({text.data(), static_cast<std::size_t>(n)});
}

}  // namespace

std::optional<ProcessFacts> parse_stat(std::string_view text) {
  ProcessFacts facts;
  const auto name_begin = text.find('(');
  const auto name_end = text.rfind(')');
  if (name_begin == std::string_view::npos || name_end == std::string_view::npos || name_end < name_begin) {
    return std::nullopt;
  }
  std::string_view before = text.substr(0, name_begin);
  std::string_view after = text.substr(name_end + 1);
  if (!take_number(before, facts.pid) || facts.pid <= 0) return std::nullopt;
  if (after.size() < 2 || after.front() != ' ') return std::nullopt;
  facts.name = text.substr(name_begin + 1, name_end - name_begin - 1);
  facts.state = after[1];
  after.remove_prefix(2);
  if (!take_number(after, facts.parent) || !take_number(after, facts.group)) return std::nullopt;
  // The numbers of proc_pid_stat(5).
  constexpr int kNextField = 6;
  constexpr int kThreadsField = 20;
  constexpr int kStartedField = 22;
  for (int field = kNextField; field < kStartedField; ++field) {
    long long number = 0;
    if (!take_number(after, number)) return std::nullopt;
    if (field == kThreadsField) facts.threads = static_cast<int>(number);
  }
  if (!take_number(after, facts.started)) return std::nullopt;
  return facts;
}

std::vector<ProcessFacts> all_processes() {
  std::vector<ProcessFacts> all;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return all;
  while (const dirent* entry = readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (auto facts = read_stat(dirfd(proc), std::string(entry->d_name) + "/stat")) all.push_back(std::move(*facts));
  }
  closedir(proc);
  return all;
}

std::vector<pid_t> own_children() {
  const std::string own = std::to_string(getpid());
  const UniqueFd file(open(("/proc/self/task/" + own + "/children").c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t n = 1; file && n > 0;) {
    n = read(file.get(), part.data(), part.size());
    if (n > 0) text.append(part.data(), static_cast<std::size_t>(n));
  }
  std::vector<pid_t> children;
  std::string_view rest = text;
  for (pid_t child = 0; take_number(rest, child);) children.push_back(child);
  return children;
}

std::vector<ProcessFacts> family(const std::vector<ProcessFacts>& all,
                                 const std::function<bool(const ProcessFacts&)>& is_root, Roots roots) {
  enum class Kinship : std::uint8_t { kUnknown, kBeingAsked, kStranger, kRoot, kDescendant };
  struct Entry {
    const ProcessFacts* facts;
    Kinship kinship;
  };
  std::unordered_map<pid_t, Entry> by_pid;
  by_pid.reserve(all.size());
  for (const ProcessFacts& facts : all) by_pid.insert_or_assign(facts.pid, Entry{&facts, Kinship::kUnknown});

  std::vector<ProcessFacts> found;
  std::vector<Entry*> path;
  for (const ProcessFacts& facts : all) {
    // Up to an ancestor whose kinship is known, then down again with the answer.
    Kinship above = Kinship::kStranger;
    path.clear();
    for (Entry* entry = &by_pid.at(facts.pid);;) {
      if (entry->kinship == Kinship::kUnknown && is_root(*entry->facts)) entry->kinship = Kinship::kRoot;
      if (entry->kinship == Kinship::kBeingAsked) break;  // a circle: the list is no moment's truth
      if (entry->kinship != Kinship::kUnknown) {
        above = entry->kinship;
        break;
      }
      entry->kinship = Kinship::kBeingAsked;
      path.push_back(entry);
      const auto parent = by_pid.find(entry->facts->parent);
      if (parent == by_pid.end() || parent->second.facts->started > entry->facts->started) break;
      entry = &parent->second;
    }
    const bool kin = above == Kinship::kRoot || above == Kinship::kDescendant;
    for (Entry* entry : path) entry->kinship = kin ? Kinship::kDescendant : Kinship::kStranger;
    const Kinship own = by_pid.at(facts.pid).kinship;
    if (own == Kinship::kDescendant || (own == Kinship::kRoot && roots == Roots::kWith)) found.push_back(facts);
  }
  return found;
}

Signalled signal_process(const ProcessFacts& process, int signal_number) {
  const auto outcome = [](long result) {
    if (result == 0) return Signalled::kSent;
    return errno == EPERM ? Signalled::kRefused : Signalled::kGone;
  };
  // A directory of /proc stays that of its process, so what is looked at here is what gets the signal.
  const UniqueFd directory(open(("/proc/" + std::to_string(process.pid)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Signalled::kGone;
  const auto now = read_stat(directory.get(), "stat");
  if (!now || now->started != process.started || now->dead()) return Signalled::kGone;
  if (signal_number == SIGKILL && now->group == now->pid) kill(-now->pid, SIGKILL);
  const long sent = syscall(SYS_pidfd_send_signal, directory.get(), signal_number, nullptr, 0);
  if (sent != 0 && errno != ESRCH && errno != EPERM) return outcome(kill(process.pid, signal_number));
  return outcome(sent);
}

bool set_pool_mark(PoolMark mark) {
  if (mark == kNoMark || mark > kMaxMark) return false;
  const rlimit limit{kMarkBase + mark, kMarkBase + mark};
  return setrlimit(RLIMIT_RTTIME, &limit) == 0;
}

void clear_pool_mark() {
  const rlimit limit{kMarkBase, kMarkBase};
  setrlimit(RLIMIT_RTTIME, &limit);
}

PoolMark pool_mark_of(pid_t pid) {
  rlimit limit{};
  if (prlimit(pid, RLIMIT_RTTIME, nullptr, &limit) != 0) return kNoMark;
  if (limit.rlim_cur <= kMarkBase || limit.rlim_cur - kMarkBase > kMaxMark) return kNoMark;
  return limit.rlim_cur - kMarkBase;
}

}  // namespace erlang_python
