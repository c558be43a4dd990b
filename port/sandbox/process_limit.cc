#include "sandbox/process_limit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace erlang_python {
namespace {

constexpr char kPrefix[] = "erlang_python_";

Status write_text(const std::string& path, const std::string& text) {
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return Error{path + ": " + std::strerror(errno)};
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

/// Where a cgroup of ours may be: below the one that this process is in, in a hierarchy that counts processes. Of the
/// lines "9:pids:/path" (version 1) and "0::/path" (version 2).
std::vector<std::string> parents() {
  std::vector<std::string> found;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers.find(",pids,") != std::string::npos) found.push_back("/sys/fs/cgroup/pids" + path);
    if (controllers == ",,") {
      // Never beside it, where its own limits would not hold. A cgroup of version 2 that has processes seldom has the
      // controllers to give: then this is not to be had.
      found.push_back("/sys/fs/cgroup" + path);
      found.push_back("/sys/fs/cgroup/unified" + path);
    }
  }
  return found;
}

/// Those of port processes that are gone; one that has processes cannot be removed.
void remove_empty(const std::string& parent) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(parent.c_str()), closedir);
  if (!directory) return;
  while (const dirent* entry = readdir(directory.get())) {
    if (std::strncmp(entry->d_name, kPrefix, sizeof kPrefix - 1) == 0)
      unlinkat(dirfd(directory.get()), entry->d_name, AT_REMOVEDIR);
  }
}

std::int64_t own_threads() {
  std::int64_t count = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/task"), closedir);
  while (directory && readdir(directory.get()) != nullptr) ++count;
  return count - 2;  // "." and ".."
}

Status enter(const std::string& group, std::int64_t more) {
  if (mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) return Error{group + ": " + std::strerror(errno)};
  if (!exists(group + "/pids.max")) return Error{group + ": without the controller pids"};
  if (Status limited = write_text(group + "/pids.max", std::to_string(own_threads() + more)); !limited) return limited;
  return write_text(group + "/cgroup.procs", std::to_string(getpid()));
}

/// Processes and threads of the user, as RLIMIT_NPROC counts them.
std::int64_t tasks_of_user() {
  std::int64_t count = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc"), closedir);
  while (const dirent* entry = directory ? readdir(directory.get()) : nullptr) {
    const std::string process = std::string("/proc/") + entry->d_name;
    struct stat status {};
    if (std::atoi(entry->d_name) <= 0 || stat(process.c_str(), &status) != 0 || status.st_uid != getuid()) continue;
    std::ifstream file(process + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("Threads:", 0) == 0) count += std::atoll(line.c_str() + sizeof "Threads:");
    }
  }
  return count;
}

/// Root is exempt from it. What the user starts elsewhere counts as well, so it may be less than was asked for.
Status limit_user(std::int64_t more) {
  const auto limit = static_cast<rlim_t>(tasks_of_user() + more);
  const rlimit both{limit, limit};
  if (setrlimit(RLIMIT_NPROC, &both) != 0) return Error{std::string("RLIMIT_NPROC: ") + std::strerror(errno)};
  return {};
}

}  // namespace

Status limit_processes(std::int64_t more) {
  std::string why = "no cgroup with the controller pids in /proc/self/cgroup";
  for (const std::string& parent : parents()) {
    if (!exists(parent + "/cgroup.procs")) continue;  // the hierarchy is mounted elsewhere
    remove_empty(parent);
    const std::string group = parent + "/" + kPrefix + std::to_string(getpid());
    // Another one that starts may take the empty directory for one that was left behind.
    for (int tries = 0; tries < 3; ++tries) {
      const Status entered = enter(group, more);
      if (entered) return {};
      why = entered.error().message;
    }
    rmdir(group.c_str());
  }
  if (geteuid() != 0) return limit_user(more);
  return Error{"processes: " + why};
}

}  // namespace erlang_python
