#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "context/request.h"

namespace erlang_python {

/// The requests that wait for one context, in arrival order. Filled by whoever reads stdin, emptied by the context's
/// thread.
class Mailbox {
 public:
  Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// True when the context sleeps and must be woken with wake(): not done here, so that the reader can settle the
  /// leadership first.
  [[nodiscard]] bool push(Request request);
  void wake();

  std::optional<Request> pop();
  bool empty() const { return size_.load(std::memory_order_acquire) == 0; }
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

  /// Context thread: sleeps until something is pushed; with `also_fd` >= 0, also until that is readable.
  void sleep(int also_fd);

  /// Takes out the requests for which `unwanted` is true. Any thread.
  std::vector<Request> remove_if(const std::function<bool(const Request&)>& unwanted);

 private:
  UniqueFd bell_;  ///< eventfd
  std::atomic<std::size_t> size_ = 0;

  std::mutex mu_;
  // Guarded by mu_.
  std::deque<Request> requests_;
  bool asleep_ = false;
};

}  // namespace erlang_python
