// The part of Contexts that the loop thread runs at its ticks.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

#include "base/resident_memory.h"
#include "context/contexts.h"
#include "segments/segments.h"

namespace erlang_python {

std::size_t resident_bytes(const Segments* segments) {
  const ResidentMemory memory = resident_memory();
  if (memory.bytes == 0) return 0;
  const std::size_t stored = segments != nullptr ? segments->file().stored_bytes() : 0;
  return std::max(memory.bytes, memory.bytes - std::min(memory.mapped_bytes, memory.bytes) + stored);
}

bool Contexts::busy() const {
  if (services_.calls.has_due()) return true;
  const MutexLock lock(mu_);
  for (const auto& entry : contexts_) {
    if (entry.second->busy()) return true;
  }
  return false;
}

void Contexts::watch(std::int64_t now_ns) {
  std::vector<std::shared_ptr<Context>> all;
  {
    const MutexLock lock(mu_);
    all.reserve(contexts_.size());
    for (const auto& entry : contexts_) all.push_back(entry.second);
  }
  for (const auto& context : all) context->watch(now_ns);
  pieces_.forget_abandoned(now_ns);
  if (services_.calls.has_due()) services_.calls.send_due();
  watch_memory();
}

void Contexts::watch_memory() {
  const std::size_t limit = services_.config.memory_limit;
  if (limit == 0) return;
  const std::size_t resident = resident_bytes(services_.segments);
  if (resident <= limit || memory_reported_) return;
  memory_reported_ = true;
  TermWriter out;
  begin_notice(out, Notice::kMemoryLimit, 2);
  out.integer(static_cast<std::int64_t>(resident));
  out.integer(static_cast<std::int64_t>(limit));
  finish_frame(out);
  services_.writer.send(out.bytes());
  // Erlang will kill the process group, but the memory is gone sooner when we do it ourselves, once the notice is out.
  for (int tries = 0; tries < 100 && !services_.writer.drain(); ++tries) usleep(1000);
  kill(0, SIGKILL);
  // A sandbox without processes lets signals go to this one only.
  kill(getpid(), SIGKILL);
}

}  // namespace erlang_python
