#pragma once

#include <cstddef>

namespace erlang_python {

/// Ends the process by SIGABRT, with a sentence on fd 2. Nothing is thrown: an exception would unwind the frames of
/// CPython and of extension modules, which are not made for it. `bytes`: what could not be had.
[[noreturn]] void end_out_of_memory(std::size_t bytes) noexcept;

/// From now on a std::bad_alloc that nobody catches does the same. Ours is caught by nobody: it gets as far as the next
/// function that is noexcept, which all are that C calls (python/entry.h). An extension module's may be caught by
/// itself, so `new` still throws.
void end_when_out_of_memory() noexcept;

}  // namespace erlang_python
