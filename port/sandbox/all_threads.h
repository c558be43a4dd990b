#pragma once

#include "base/result.h"

namespace erlang_python {

/// Takes away from every thread of the process, one after the other, what a program of a pool needs none of: the rights
/// of the Landlock ruleset, the ways to get more privileges (no_new_privs) and all capabilities but those with which
/// root reads and writes files of others and binds low ports.
///
/// Landlock restricts the calling thread only, and threads of a preload are not ours to restart: each gets a signal
/// whose handler does it. Threads that are in a system call may see EINTR, which libuv and Python expect.
Status restrict_all_threads(int landlock_ruleset);

/// The same for the calling thread alone: 0 or an errno. May be called in a signal handler.
int restrict_calling_thread(int landlock_ruleset) noexcept;

/// Drops the capabilities of the calling thread: 0 or an errno. May be called in a signal handler.
int drop_capabilities() noexcept;

}  // namespace erlang_python
