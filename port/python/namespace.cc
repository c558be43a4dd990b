#include "python/namespace.h"

#include "base/clock.h"
#include "base/resident_memory.h"

namespace erlang_python {

void LeftoverCollector::take(LetGo became) {
  {
    const MutexLock lock(mu_);
    if (became == LetGo::kGone && !leftovers_.any()) return;
    const std::size_t resident = resident_memory().bytes;
    const std::int64_t now = now_ns();
    if (became != LetGo::kGone) leftovers_.add(resident, now);
    if (!leftovers_.due(resident, now)) return;
    leftovers_.begin_collection(now);
  }
  PyGC_Collect();  // does nothing where the user has disabled it
  const MutexLock lock(mu_);
  leftovers_.end_collection(now_ns());
}

Namespace::~Namespace() {
  variables_ = PyRef();
  leftovers_.take(let_go(std::move(globals_)));
}

}  // namespace erlang_python
