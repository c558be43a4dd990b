// The part of Contexts that the loop thread runs at its ticks.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <vector>

#include "context/contexts.h"

namespace erlang_python {

std::size_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long total = 0;
  unsigned long resident = 0;
  const int fields = std::fscanf(file, "%lu %lu", &total, &resident);
  std::fclose(file);
  return fields == 2 ? resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) : 0;
}

bool Contexts::busy() const {
  const std::scoped_lock lock(mu_);
  for (const auto& entry : contexts_) {
    if (entry.second->busy()) return true;
  }
  return false;
}

void Contexts::watch(std::int64_t now_ns) {
  std::vector<std::shared_ptr<Context>> all;
  {
    const std::scoped_lock lock(mu_);
    all.reserve(contexts_.size());
    for (const auto& entry : contexts_) all.push_back(entry.second);
  }
  for (const auto& context : all) context->watch(now_ns);
  pieces_.forget_abandoned(now_ns);
  watch_memory();
}

void Contexts::watch_memory() {
  const std::size_t limit = services_.config.memory_limit;
  if (limit == 0) return;
  const std::size_t resident = resident_bytes();
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
}

}  // namespace erlang_python
