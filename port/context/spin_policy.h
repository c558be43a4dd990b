#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace erlang_python {

/// How many threads of this process run or poll right now, against how many cores it may use.
class ThreadCensus {
 public:
  ThreadCensus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores_ = CPU_COUNT(&set);
  }

  void enter() { active_.fetch_add(1, std::memory_order_relaxed); }
  void leave() { active_.fetch_sub(1, std::memory_order_relaxed); }

  /// One core is for the BEAM, which must run for anything to arrive. The caller counts as active.
  bool core_to_spare() const { return active_.load(std::memory_order_relaxed) < cores_; }

 private:
  int cores_ = 1;
  std::atomic<int> active_ = 0;
};

/// Whether a leader that finds nothing to read polls on or sleeps. Polling saves two wake-ups across cores (about 40 µs
/// on a virtual machine) when the next request comes soon, and burns a core for nothing when it does not: so each
/// context keeps a score of what polling would have brought lately. One thread.
class SpinPolicy {
 public:
  static constexpr std::int64_t kSpinNs = 50 * kNsPerUs;

  bool worth_it() const { return score_ > 0; }
  void found_while_spinning() { score_ = std::min(score_ + 1, kMaxScore); }
  /// After a wait that ended by sleeping: `waited_ns` from the beginning of the wait to the wake-up.
  void slept(std::int64_t waited_ns) {
    if (waited_ns < kSpinNs + kWakeUpNs) {
      score_ = std::min(score_ + 2, kMaxScore);
    } else {
      score_ = std::max(score_ - 1, 0);
    }
  }

 private:
  static constexpr std::int64_t kWakeUpNs = 50 * kNsPerUs;
  static constexpr int kMaxScore = 16;
  int score_ = kMaxScore / 2;
};

}  // namespace erlang_python
