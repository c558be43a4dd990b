#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "callback/request_scope.h"

namespace erlang_python {

/// Answers for callbacks that nobody waits for in a thread: an asyncio loop watches the descriptor. Any thread.
class Inbox {
 public:
  Inbox() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  /// Readable while there is something to take; -1 when the operating system had no descriptor left.
  int fd() const { return bell_.get(); }

  void put(std::uint64_t id, Answer answer) {
    const std::scoped_lock lock(mu_);
    answers_.emplace_back(id, std::move(answer));
    if (answers_.size() > 1) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(bell_.get(), &one, sizeof one);
  }

  std::vector<std::pair<std::uint64_t, Answer>> take() {
    const std::scoped_lock lock(mu_);
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(bell_.get(), &count, sizeof count);
    return std::exchange(answers_, {});
  }

 private:
  UniqueFd bell_;
  std::mutex mu_;
  std::vector<std::pair<std::uint64_t, Answer>> answers_;  // Guarded by mu_.
};

}  // namespace erlang_python
