#pragma once

#include <cstddef>

namespace erlang_python {

/// Ends the process by SIGABRT, with a sentence on fd 2. Nothing is thrown: an exception would unwind the frames of
/// CPython and of extension modules, which are not made for it. `bytes`: what could not be had.
[[noreturn]] void end_out_of_memory(std::size_t bytes) noexcept;

/// From now on `new` does the same, instead of throwing std::bad_alloc.
void end_when_out_of_memory() noexcept;

}  // namespace erlang_python
