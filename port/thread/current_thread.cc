#include "thread/current_thread.h"

namespace erlang_python {

constinit thread_local CurrentThread the_current_thread;

WakeSlot& WakeSlot::of_this_thread() noexcept { return current_thread().wake_slot; }

}  // namespace erlang_python
