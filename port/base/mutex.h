#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/thread_annotations.h"

namespace erlang_python {

/// A std::mutex that clang's thread safety analysis knows of, which that of libstdc++ is not.
class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ACQUIRE() { mu_.lock(); }
  void unlock() RELEASE() { mu_.unlock(); }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) { return mu_.try_lock(); }

 private:
  friend class Condition;
  std::mutex mu_;
};

/// Holds a mutex as long as it lives.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.lock(); }
  ~MutexLock() RELEASE() { mu_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

/// A std::condition_variable for a Mutex. What is waited for is looked at by the caller, in a loop: the analysis does
/// not see that a function which is handed in runs with the lock.
class Condition {
 public:
  /// Returns when it was notified, and now and then without.
  void wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock held(mu.mu_, std::adopt_lock);
    condition_.wait(held);
    static_cast<void>(held.release());
  }
  void wait_for(Mutex& mu, std::chrono::milliseconds most) REQUIRES(mu) {
    std::unique_lock held(mu.mu_, std::adopt_lock);
    condition_.wait_for(held, most);
    static_cast<void>(held.release());
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace erlang_python
