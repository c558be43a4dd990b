#include "python/namespace.h"

#include "base/clock.h"
#include "base/resident_memory.h"

namespace erlang_python {

namespace {

// What memory there is is read from a file.
constexpr std::int64_t kLookNs = 100 * kNsPerMs;

}  // namespace

void LeftoverCollector::open() {
  const MutexLock lock(mu_);
  leftovers_.open(resident_memory().bytes);
}

void LeftoverCollector::take(LetGo became) {
  if (became != LetGo::kGone) {
    const MutexLock lock(mu_);
    leftovers_.add(now_ns());
  }
  collect_if_due();
}

void LeftoverCollector::collect_if_due() {
  {
    const MutexLock lock(mu_);
    if (!leftovers_.any()) return;
    const std::int64_t now = now_ns();
    next_look_ns_ = now + kLookNs;
    if (!leftovers_.due(resident_memory().bytes, now)) return;
    leftovers_.begin_collection(now);
    next_look_ns_ = 0;
  }
  PyGC_Collect();  // does nothing where the user has disabled it
  const MutexLock lock(mu_);
  leftovers_.end_collection(resident_memory().bytes, now_ns());
}

Namespace::~Namespace() {
  variables_ = PyRef();
  leftovers_.take(let_go(std::move(globals_), preload_.get()));
}

}  // namespace erlang_python
