#pragma once

#include <sys/epoll.h>
#include <uv.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/unique_fd.h"
#include "thread/wake_slot.h"

namespace erlang_python {

/// What the event loop of a thread sleeps in: a libuv loop that watches a set of descriptors, a deadline, and wake-ups
/// of other threads. Knows nothing of Python.
///
/// The descriptors are an epoll set of their own, which the libuv loop watches with one uv_poll_t, and not one
/// uv_poll_t each: those are other people's descriptors, which may be closed or reused at any instant, on which libuv
/// aborts the process (uv__io_poll, when epoll_ctl says EBADF or ENOENT; seen with 1.44.2), and which uv_poll_init
/// makes non-blocking behind the back of their owner. epoll_ctl just says what is wrong, at once, as
/// selectors.EpollSelector reports it.
///
/// Something else that is to end the sleep, such as the bell of a mailbox: where it can call a function, wake(); where
/// it is a descriptor, a uv_poll_t (or any other handle) on libuv(), made and closed by its owner on the waiting
/// thread. Its callback runs inside sleep(), without a GIL; sleep() returns after it.
class Waiter final : public Wakeable {
 public:
  /// `code`: 0, or an errno value when there is none.
  static std::unique_ptr<Waiter> open(int& code);
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter();

  // --- Any thread.

  /// `events` as for epoll_ctl. The set holds numbers, not files: what it says of closed ones is epoll's business.
  /// 0, or an errno value: EPERM for what is always ready (regular files), EEXIST, ENOENT, EBADF.
  int add(int fd, std::uint32_t events) noexcept { return control(EPOLL_CTL_ADD, fd, events); }
  int change(int fd, std::uint32_t events) noexcept { return control(EPOLL_CTL_MOD, fd, events); }
  int remove(int fd) noexcept { return control(EPOLL_CTL_DEL, fd, 0); }

  /// Ends the sleep, or the next one when there is none; cheap, and many at once are one.
  void wake() noexcept override;

  /// The epoll set.
  int fd() const { return set_.get(); }

  // --- The waiting thread; one at a time.

  /// True once after wake().
  bool take_wake() noexcept { return woken_.load(std::memory_order_relaxed) && woken_.exchange(false); }

  /// What is ready now, without waiting: how many events were stored; negative: an errno value.
  int poll(std::span<epoll_event> events) noexcept;

  /// Sleeps until a descriptor is ready, wake() was called, or `deadline_ns` (now_ns(); negative: never) has come. May
  /// return early for no reason, though never because of a deadline to come: look at the clock.
  void sleep(std::int64_t deadline_ns) noexcept;

  /// The same in two halves, for who sleeps in a poll of his own: enter_sleep() says what has to be polled and for how
  /// long at most (milliseconds, -1 for ever); leave_sleep() comes after it, in any case. `fd` -1: do not sleep.
  struct Place {
    int fd;
    int timeout_ms;
  };
  Place enter_sleep(std::int64_t deadline_ns) noexcept;
  void leave_sleep() noexcept;

  /// For handles of others; they are closed before the Waiter is.
  uv_loop_t& libuv() { return loop_; }

 private:
  Waiter() = default;
  int open_handles();
  int control(int operation, int fd, std::uint32_t events) noexcept;
  void arm(std::int64_t deadline_ns) noexcept;
  bool open_alarm() noexcept;
  void set_alarm(std::int64_t at_ns) noexcept;
  void follow_fork() noexcept;

  UniqueFd set_;
  UniqueFd alarm_;  ///< timerfd, made when it is first needed
  std::atomic<bool> woken_ = false;
  std::atomic<bool> sleeping_ = false;

  // The waiting thread only.
  uv_loop_t loop_{};
  uv_async_t bell_{};
  uv_timer_t timer_{};
  uv_poll_t set_poll_{};
  uv_poll_t alarm_poll_{};
  std::int64_t alarm_ns_ = 0;  ///< when alarm_ goes off; 0: it does not
  unsigned forks_ = 0;
  bool loop_open_ = false;
};

}  // namespace erlang_python
