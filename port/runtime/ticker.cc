#include "runtime/ticker.h"

#include <sys/timerfd.h>
#include <unistd.h>

namespace erlang_python {

Ticker::Ticker() : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {}

void Ticker::set_timer(std::int64_t period_ms) const {
  itimerspec spec{};
  spec.it_interval.tv_nsec = period_ms * 1'000'000;
  spec.it_value = spec.it_interval;
  timerfd_settime(fd_.get(), 0, &spec, nullptr);
}

void Ticker::arm() {
  if (!armed_.exchange(true, std::memory_order_seq_cst)) set_timer(kPeriodMs);
}

void Ticker::acknowledge() const {
  std::uint64_t expiries = 0;
  [[maybe_unused]] const ssize_t n = read(fd_.get(), &expiries, sizeof expiries);
}

void Ticker::disarm() {
  set_timer(0);
  armed_.store(false, std::memory_order_seq_cst);
}

}  // namespace erlang_python
