#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "request/request.h"
#include "request/request_scope.h"

namespace erlang_python {

/// Answers for callbacks that nobody waits for in a thread, and requests that their functions make: an asyncio loop
/// watches the descriptor. Any thread.
class Inbox {
 public:
  struct Mail {
    std::vector<std::pair<std::uint64_t, Answer>> answers;
    std::vector<Request> nested;  ///< before the answers of the calls that they belong to
  };

  Inbox() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  /// Readable while there is something to take; -1 when the operating system had no descriptor left.
  int fd() const { return bell_.get(); }

  void put(std::uint64_t id, Answer answer) {
    const MutexLock lock(mu_);
    ring();
    mail_.answers.emplace_back(id, std::move(answer));
  }

  void put(Request nested) {
    const MutexLock lock(mu_);
    ring();
    mail_.nested.push_back(std::move(nested));
  }

  Mail take() {
    const MutexLock lock(mu_);
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(bell_.get(), &count, sizeof count);
    return std::exchange(mail_, {});
  }

  bool has_nested() {
    const MutexLock lock(mu_);
    return !mail_.nested.empty();
  }

  /// Only the requests of a chain.
  std::vector<Request> take_nested(std::uint64_t chain) {
    const MutexLock lock(mu_);
    std::vector<Request> taken;
    std::vector<Request> kept;
    for (Request& request : mail_.nested) {
      (request.message.chain == chain ? taken : kept).push_back(std::move(request));
    }
    mail_.nested = std::move(kept);
    return taken;
  }

 private:
  /// Before something is put.
  void ring() REQUIRES(mu_) {
    if (!mail_.answers.empty() || !mail_.nested.empty()) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(bell_.get(), &one, sizeof one);
  }

  UniqueFd bell_;
  Mutex mu_;
  Mail mail_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
