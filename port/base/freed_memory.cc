#include "base/freed_memory.h"

#include <cstdlib>

#include "base/mutex.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace erlang_python {

#if defined(__GLIBC__)
namespace {

constexpr int kMmapThresholdBytes = 8 * 1024 * 1024;
constexpr int kTrimThresholdBytes = 32 * 1024 * 1024;
// What glibc looks at the end of a thread's arena for, when it is freed.
constexpr std::size_t kLookedAtBytes = 256 * 1024;

}  // namespace

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
}

void return_freed_memory() {
  // One at a time: the threshold is that of all threads.
  static Mutex one;
  const MutexLock lock(one);
  // malloc_trim leaves alone what is free at the end of the arena of a thread other than the first; free() does not.
  mallopt(M_TRIM_THRESHOLD, 0);
  void* volatile looked_at = std::malloc(kLookedAtBytes);
  std::free(looked_at);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  malloc_trim(0);
}
#else
void keep_freed_memory() {}
void return_freed_memory() {}
#endif

}  // namespace erlang_python
