#include "base/resident_memory.h"

#include <unistd.h>

#include <cstdio>

namespace erlang_python {

ResidentMemory resident_memory() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return {};
  unsigned long total = 0;
  unsigned long resident = 0;
  unsigned long mapped = 0;
  const int fields = std::fscanf(file, "%lu %lu %lu", &total, &resident, &mapped);
  std::fclose(file);
  if (fields != 3) return {};
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return {resident * page, mapped * page};
}

}  // namespace erlang_python
