#pragma once

#include <pthread.h>

#include <string>

namespace erlang_python {

/// What `top -H`, gdb and py-spy call the calling thread; the kernel keeps 15 characters. Threads that it starts
/// inherit the name.
inline void name_this_thread(const std::string& name) noexcept {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name.c_str());
#else
  static_cast<void>(name);
#endif
}

}  // namespace erlang_python
