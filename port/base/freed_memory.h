#pragma once

namespace erlang_python {

/// Values of some megabytes come and go with every call; without this each would have all its pages taken from the
/// kernel and given back (measured: 4 MB echoes took four times as long). Once, while there is one thread.
void keep_freed_memory();

/// Gives the kernel what is kept, of all that was freed and of what the calling thread allocates from: what a context
/// had may be the most that the process ever needs. Any thread.
void return_freed_memory();

}  // namespace erlang_python
