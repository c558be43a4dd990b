#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// Adds to `_erlang_loop` the type `Epoll`: what select.epoll is to selectors.EpollSelector, on a Waiter
/// (loop/waiter.h). Its select() is that of the selector, which hands its keys in, and
///
/// - gives up the GIL only when it really sleeps,
/// - ends when any thread calls wake(), the next one if none runs,
/// - ends when WakeSlot::wake() of its thread is called (thread/wake_slot.h),
/// - keeps a timeout to some microseconds instead of rounding it up to milliseconds.
///
/// False with a Python error set.
bool add_epoll_type(PyObject* module);

}  // namespace erlang_python
