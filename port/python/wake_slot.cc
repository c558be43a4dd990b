#include "python/wake_slot.h"

namespace erlang_python {

WakeSlot& WakeSlot::of_this_thread() noexcept {
  thread_local WakeSlot slot;
  return slot;
}

}  // namespace erlang_python
