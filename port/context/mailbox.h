#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "base/chain.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "request/request.h"

namespace erlang_python {

/// What the thread of a mailbox is ready to serve.
struct Wanted {
  bool nested_only = false;        ///< it waits for a callback: results, and requests of call chains
  std::uint64_t newest_chain = 0;  ///< with nested_only: of chains up to this number

  bool includes(const Message& message) const {
    if (!nested_only || message.operation == Operation::kResult || message.operation == Operation::kCancel ||
        message.operation == Operation::kCredit) {
      return true;
    }
    return message.chain != 0 && not_newer(message.chain, newest_chain);
  }
};

/// What else ends the sleep of a context: stdin for the one that leads, and the place of an event loop.
struct Sleep {
  int stdin_fd = -1;
  int loop_fd = -1;
  int timeout_ms = -1;
};

/// The requests that wait for one context. Filled by whoever reads stdin, emptied by the context's thread.
///
/// Two lanes, each in arrival order: results of callbacks and requests of a call chain, on which somebody waits who has
/// a context already, and all others. A request that gave way to others comes back to the end of the second, of
/// whatever chain it is.
class Mailbox {
 public:
  Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// True when the context sleeps and must be woken with wake(): not done here, so that the reader can settle the
  /// leadership first.
  [[nodiscard]] bool push(Request request);
  void wake();
  /// Any thread: ends the sleep of a thread that waits for a callback, and the next one if it is awake.
  void alarm();

  /// The next request that is wanted: of a call chain before others.
  std::optional<Request> pop(const Wanted& wanted = {});
  /// True when pop() would give something, or, with nested_only, when there was an alarm.
  bool has(const Wanted& wanted) const;
  /// Whether the request that pop() would give is such a one.
  template <typename Predicate>
  bool next_is(const Predicate& is_it) const {
    if (empty()) return false;
    const MutexLock lock(mu_);
    const std::deque<Request>& lane = nested_.empty() ? ordinary_ : nested_;
    return !lane.empty() && is_it(lane.front());
  }
  bool empty() const { return size_.load(std::memory_order_acquire) == 0; }
  bool has_cancels() const { return cancels_.load(std::memory_order_acquire) != 0; }
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

  /// Context thread: true once after each alarm().
  bool take_alarm() { return alarm_.load(std::memory_order_acquire) && alarm_.exchange(false); }

  /// Context thread: sleeps until something wanted is there, a descriptor of `how` is readable, or its time is over.
  void sleep(const Sleep& how, const Wanted& wanted = {});

  /// Any thread.
  bool any(const std::function<bool(const Request&)>& is_it) const;
  /// Context thread: from now on the bell rings for what is wanted, and for alarms, though the thread is awake:
  /// somebody polls fd() for it. nullopt: no longer.
  void watch(const std::optional<Wanted>& wanted);
  int fd() const { return bell_.get(); }
  void hush();  ///< what rang is being looked after

  /// Takes out the requests for which `unwanted` is true. Any thread. Of one that gave way its `rest` stays behind, in
  /// a request without a frame, until the context's thread comes to it, which alone may destroy that.
  std::vector<Request> remove_if(const std::function<bool(const Request&)>& unwanted);

 private:
  static bool is_nested(const Message& message) {
    return message.chain != 0 || message.operation == Operation::kResult || message.operation == Operation::kCancel ||
           message.operation == Operation::kCredit;
  }
  bool has_locked(const Wanted& wanted) const REQUIRES(mu_);
  static bool returns_in_chain(const Request& request) { return request.rest.work && request.message.chain != 0; }
  void count() REQUIRES(mu_);

  UniqueFd bell_;  ///< eventfd
  std::atomic<std::size_t> size_ = 0;
  std::atomic<std::size_t> nested_size_ = 0;
  std::atomic<std::size_t> cancels_ = 0;
  std::atomic<bool> alarm_ = false;

  mutable Mutex mu_;
  std::deque<Request> nested_ GUARDED_BY(mu_);
  std::deque<Request> ordinary_ GUARDED_BY(mu_);
  /// Of ordinary_: may be wanted by a level that waits.
  std::size_t returned_in_chains_ GUARDED_BY(mu_) = 0;
  std::optional<Wanted> asleep_for_ GUARDED_BY(mu_);
  std::optional<Wanted> watched_for_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
