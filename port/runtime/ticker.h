#pragma once

#include <atomic>
#include <cstdint>

#include "base/unique_fd.h"

namespace erlang_python {

/// The timer that ticks while a context is inside Python, and only then: an idle port has no timer.
///
/// A context arms it before it enters Python; the loop disarms it when it finds nobody inside. Both first publish what
/// they do and then look at what the other did (sequentially consistent), so one of them always sees the other.
class Ticker {
 public:
  Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  int fd() const { return fd_.get(); }

  /// Any thread, before Python.
  void ensure_armed() {
    if (!armed_.load(std::memory_order_seq_cst)) arm();
  }

  /// Loop thread: consumes the expiry.
  void acknowledge() const;
  /// Loop thread: says that the ticks may end; then look once more, and ensure_armed() if somebody has entered.
  void disarm();

  static constexpr std::int64_t kPeriodMs = 1;

 private:
  void arm();
  void set_timer(std::int64_t period_ms) const;

  UniqueFd fd_;
  std::atomic<bool> armed_ = false;
};

}  // namespace erlang_python
