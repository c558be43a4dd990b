#pragma once

#include <cstddef>

namespace erlang_python {

/// What of this process is in memory.
struct ResidentMemory {
  std::size_t bytes = 0;
  std::size_t mapped_bytes = 0;  ///< those of them that belong to files, and to shared memory
};

/// All 0 when /proc cannot be read.
ResidentMemory resident_memory();

}  // namespace erlang_python
