#include "loop/waiter.h"

#include <pthread.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "loop/companion.h"
#include "thread/current_thread.h"

namespace erlang_python {
namespace {

// libuv's timers count whole milliseconds. The rest, and waits that are short, are left to a timerfd, which is exact
// but costs a system call each time it is set: too much for the timeouts of a busy server, which seldom come.
constexpr std::int64_t kExactBelowNs = 20 * kNsPerMs;

constexpr std::int64_t kNsPerSecond = 1'000 * kNsPerMs;

/// How many times this process is the child of a fork that it lived through.
std::atomic<unsigned> forks = 0;

void count_forks() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, []() noexcept { forks.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
}

void end_sleep(uv_loop_t* loop) {
  // A timer may fire before libuv has polled; it would then sleep nevertheless.
  uv_stop(loop);
}

void on_ready(uv_poll_t* handle, int, int) noexcept { end_sleep(handle->loop); }

}  // namespace

LoopCompanion* thread_companion() { return current_thread().companion; }

void set_thread_companion(LoopCompanion* companion) { current_thread().companion = companion; }

std::unique_ptr<Waiter> Waiter::open(int& code) {
  count_forks();
  std::unique_ptr<Waiter> waiter(new Waiter());
  code = -waiter->open_handles();  // libuv's codes are negative errno values
  if (code != 0) waiter.reset();
  return waiter;
}

int Waiter::open_handles() {
  set_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!set_) return -errno;
  if (int code = uv_loop_init(&loop_); code != 0) return code;
  loop_open_ = true;
  forks_ = forks.load();
  if (int code = uv_timer_init(&loop_, &timer_); code != 0) return code;
  if (int code = uv_async_init(&loop_, &bell_, [](uv_async_t* bell) noexcept { end_sleep(bell->loop); }); code != 0) {
    return code;
  }
  if (int code = uv_poll_init(&loop_, &set_poll_, set_.get()); code != 0) return code;
  return uv_poll_start(&set_poll_, UV_READABLE, on_ready);
}

Waiter::~Waiter() {
  if (!loop_open_) return;
  follow_fork();
  uv_walk(
      &loop_,
      [](uv_handle_t* handle, void*) {
        if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
      },
      nullptr);
  uv_run(&loop_, UV_RUN_DEFAULT);
  uv_loop_close(&loop_);
}

int Waiter::control(int operation, int fd, std::uint32_t events) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(set_.get(), operation, fd, &event) == 0 ? 0 : errno;
}

void Waiter::wake() noexcept {
  woken_.store(true, std::memory_order_seq_cst);
  // Either this sees that the thread is about to sleep, or the thread sees, before it sleeps, that it was woken.
  if (sleeping_.load(std::memory_order_seq_cst)) uv_async_send(&bell_);
}

int Waiter::poll(std::span<epoll_event> events) noexcept {
  const int count = epoll_wait(set_.get(), events.data(), static_cast<int>(events.size()), 0);
  return count >= 0 ? count : (errno == EINTR ? 0 : -errno);
}

void Waiter::sleep(std::int64_t deadline_ns) noexcept {
  follow_fork();
  arm(deadline_ns);
  sleeping_.store(true, std::memory_order_seq_cst);
  if (!woken_.load(std::memory_order_seq_cst)) uv_run(&loop_, UV_RUN_ONCE);
  sleeping_.store(false, std::memory_order_relaxed);
}

Waiter::Place Waiter::enter_sleep(std::int64_t deadline_ns) noexcept {
  follow_fork();
  arm(deadline_ns);
  uv_run(&loop_, UV_RUN_NOWAIT);  // what was started since the last run is not in libuv's epoll set yet
  sleeping_.store(true, std::memory_order_seq_cst);
  if (woken_.load(std::memory_order_seq_cst)) return {-1, 0};
  return {uv_backend_fd(&loop_), uv_backend_timeout(&loop_)};
}

void Waiter::leave_sleep() noexcept {
  sleeping_.store(false, std::memory_order_relaxed);
  uv_run(&loop_, UV_RUN_NOWAIT);
}

void Waiter::arm(std::int64_t deadline_ns) noexcept {
  uv_timer_stop(&timer_);
  const std::int64_t left_ns = std::max<std::int64_t>(deadline_ns - now_ns(), 0);
  const bool exact = deadline_ns >= 0 && left_ns < kExactBelowNs && open_alarm();
  if (exact || alarm_ns_ != 0) set_alarm(exact ? deadline_ns : 0);
  if (exact || deadline_ns < 0) return;
  uv_update_time(&loop_);
  // Rounded down, twice: libuv's clock has dropped a part of a millisecond too. Up, when there is no timerfd for the
  // rest.
  const std::int64_t ms = left_ns < kExactBelowNs ? left_ns / kNsPerMs + 1 : left_ns / kNsPerMs;
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) noexcept { end_sleep(timer->loop); }, static_cast<std::uint64_t>(ms), 0);
}

bool Waiter::open_alarm() noexcept {
  if (alarm_) return true;
  UniqueFd alarm(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!alarm || uv_poll_init(&loop_, &alarm_poll_, alarm.get()) != 0) return false;
  uv_poll_start(&alarm_poll_, UV_READABLE, on_ready);
  alarm_ = std::move(alarm);
  return true;
}

void Waiter::set_alarm(std::int64_t at_ns) noexcept {
  // Also when it is the same as before: setting it takes back that it went off.
  itimerspec when{};
  when.it_value.tv_sec = at_ns / kNsPerSecond;
  when.it_value.tv_nsec = at_ns % kNsPerSecond;
  timerfd_settime(alarm_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  alarm_ns_ = at_ns;
}

void Waiter::follow_fork() noexcept {
  const unsigned now = forks.load(std::memory_order_relaxed);
  if (now == forks_) return;
  forks_ = now;
  // Without it libuv would go on with the parent's epoll set and bell.
  uv_loop_fork(&loop_);
}

}  // namespace erlang_python
