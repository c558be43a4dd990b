#pragma once

#include <cstdint>
#include <utility>

#include "protocol/messages.h"
#include "python/py_ref.h"
#include "thread/wake_slot.h"

namespace erlang_python {

struct RequestScope;
class LoopCompanion;

/// What a thread carries for C++ code that Python calls, which has no argument to be told it by. That of the thread of
/// a context is filled by the context; other threads have nothing but a place to be woken in.
struct CurrentThread {
  ContextId context = 0;               ///< that it serves
  PyObject* shown_as_main = nullptr;   ///< borrowed: the namespace of the request that it runs, which holds it
  RequestScope* scope = nullptr;       ///< of the innermost request that it runs
  LoopCompanion* companion = nullptr;  ///< of the event loops that it runs
  std::uint64_t request_number = 0;    ///< of the lowest request: what was checked for another one is checked again
  WakeSlot wake_slot;
};

/// By current_thread() only.
extern constinit thread_local CurrentThread the_current_thread;

/// Of the calling thread; valid until that ends.
inline CurrentThread& current_thread() noexcept { return the_current_thread; }

/// While it lives, `sys.modules["__main__"]` shows this namespace to the calling thread. The creator holds the dict.
class ThreadNamespace {
 public:
  explicit ThreadNamespace(PyObject* borrowed) : before_(std::exchange(current_thread().shown_as_main, borrowed)) {}
  ~ThreadNamespace() { current_thread().shown_as_main = before_; }
  ThreadNamespace(const ThreadNamespace&) = delete;
  ThreadNamespace& operator=(const ThreadNamespace&) = delete;

 private:
  PyObject* const before_;
};

}  // namespace erlang_python
