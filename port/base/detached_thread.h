#pragma once

#include <pthread.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "base/thread_name.h"

namespace erlang_python {

/// Starts a thread that nobody joins, with a stack of this size and a name: `body()`, which may not throw, runs there.
/// False: the operating system refuses one more thread, and `body` is gone.
///
/// std::thread knows of no stack sizes.
template <typename Body>
[[nodiscard]] bool start_detached_thread(std::string name, std::size_t stack_bytes, Body body) {
  struct Thread {
    std::string name;
    Body body;
  };
  constexpr auto kEntry = [](void* argument) noexcept -> void* {
    const std::unique_ptr<Thread> owned(static_cast<Thread*>(argument));
    name_this_thread(owned->name);
    owned->body();
    return nullptr;
  };
  auto thread = std::make_unique<Thread>(Thread{std::move(name), std::move(body)});
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t started{};
  const bool starts = pthread_create(&started, &attributes, kEntry, thread.get()) == 0;
  pthread_attr_destroy(&attributes);
  if (starts) static_cast<void>(thread.release());  // the thread owns it now
  return starts;
}

}  // namespace erlang_python
