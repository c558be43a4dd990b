#pragma once

#include <cstdint>

#include "loop/waiter.h"

namespace erlang_python {

/// What the thread of an event loop does besides: the thread of a context serves requests between the loop's rounds.
class LoopCompanion {
 public:
  virtual ~LoopCompanion() = default;

  /// Attached: between two rounds of an event loop that has something to do. Serves what waits, for a moment.
  virtual void between_rounds() = 0;
  /// Attached: instead of Waiter::sleep(). Returns when that would, and when something was served.
  virtual void sleep(Waiter& waiter, std::int64_t deadline_ns) = 0;
};

/// Of the calling thread; null for none.
LoopCompanion* thread_companion();
void set_thread_companion(LoopCompanion* companion);

}  // namespace erlang_python
