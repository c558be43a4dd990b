#pragma once

#include "python/py_ref.h"

namespace erlang_python {

class Waiter;

/// Makes the type `_erlang_loop.Selector`: a selectors.BaseSelector on a Waiter (loop/waiter.h), behaving as
/// selectors.EpollSelector does, and
///
/// - select() gives up the GIL only when it really sleeps,
/// - wake(), of any thread, ends select(), or the next one,
/// - WakeSlot::wake() of its thread ends select() too (python/wake_slot.h),
/// - a timeout is kept to some microseconds instead of being rounded up to milliseconds.
///
/// nullptr with a Python error set.
PyTypeObject* make_selector_type(PyObject* module);

/// The Waiter of a Selector, for C++ that wants to wake it or to watch something with it; nullptr with TypeError for
/// another object, with ValueError for a closed one. Lives until close(): keep the object, and see waiter.h.
Waiter* waiter_of(PyObject* selector);

}  // namespace erlang_python
