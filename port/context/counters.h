#pragma once

#include <atomic>
#include <cstdint>

namespace erlang_python {

/// Numbers of a context for STATS; read by any thread.
struct ContextCounters {
  std::atomic<std::uint64_t> calls = 0;
  std::atomic<std::uint64_t> errors = 0;
  std::atomic<std::uint64_t> timeouts = 0;
  std::atomic<std::uint64_t> envs = 0;
  std::atomic<std::uint64_t> tasks = 0;  ///< coroutines and streams that have not ended

  void count_error() { errors.fetch_add(1, std::memory_order_relaxed); }
};

}  // namespace erlang_python
