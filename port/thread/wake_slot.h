#pragma once

#include <utility>

#include "base/mutex.h"

namespace erlang_python {

/// Something a thread can sleep in, and be called out of.
class Wakeable {
 public:
  /// Any thread, without a GIL: the sleep ends soon, without an error. Too early or too late does no harm.
  virtual void wake() noexcept = 0;

 protected:
  ~Wakeable() = default;
};

/// Where a thread sleeps just now, inside C++ and without its GIL. One per thread, for its whole life.
///
/// For whoever sets an exception in that thread (PyThreadState_SetAsyncExc): Python sees it only when the C++ code
/// returns, so call wake() afterwards. Setting the exception takes the GIL, and the thread enters its place here before
/// it gives the GIL up, so it is either found here or sees the exception before it sleeps.
class WakeSlot {
 public:
  /// Valid until the calling thread ends.
  static WakeSlot& of_this_thread() noexcept;

  WakeSlot() = default;
  WakeSlot(const WakeSlot&) = delete;
  WakeSlot& operator=(const WakeSlot&) = delete;

  /// Any thread. Wakes what the thread of this slot sleeps in, if it does.
  void wake() noexcept {
    const MutexLock lock(mu_);
    if (place_ != nullptr) place_->wake();
  }

  /// While it lives, its thread sleeps in `place`. Made and destroyed on that thread; they may be nested.
  class Sleep {
   public:
    explicit Sleep(Wakeable& place) : slot_(of_this_thread()), before_(slot_.set(&place)) {}
    ~Sleep() { slot_.set(before_); }
    Sleep(const Sleep&) = delete;
    Sleep& operator=(const Sleep&) = delete;

   private:
    WakeSlot& slot_;
    Wakeable* const before_;
  };

 private:
  Wakeable* set(Wakeable* place) noexcept {
    const MutexLock lock(mu_);
    return std::exchange(place_, place);
  }

  Mutex mu_;
  Wakeable* place_ GUARDED_BY(mu_) = nullptr;
};

}  // namespace erlang_python
