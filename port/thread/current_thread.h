#pragma once

#include <cstdint>

#include "protocol/messages.h"
#include "thread/wake_slot.h"

namespace erlang_python {

struct RequestScope;
class LoopCompanion;
class WorkScope;

/// What a thread carries for C++ code that Python calls, which has no argument to be told it by. That of the thread of
/// a context is filled by the context; other threads have a place to be woken in, and while they work for a request
/// what they know of that.
struct CurrentThread {
  ContextId context = 0;               ///< that it serves
  RequestScope* scope = nullptr;       ///< of the innermost request that it runs, or works for
  WorkScope* work = nullptr;           ///< the innermost work that it does
  LoopCompanion* companion = nullptr;  ///< of the event loops that it runs
  std::uint64_t request_number = 0;    ///< of the lowest request: what was checked for another one is checked again
  WakeSlot wake_slot;
};

/// By current_thread() only.
extern constinit thread_local CurrentThread the_current_thread;

/// Of the calling thread; valid until that ends.
inline CurrentThread& current_thread() noexcept { return the_current_thread; }

}  // namespace erlang_python
