#include "base/out_of_memory.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

namespace erlang_python {
namespace {

[[noreturn]] void end_with(const char* what) noexcept {
  std::array<char, 256> line{};
  const int length = std::snprintf(line.data(), line.size(),
                                   "the port program is out of memory: the operating system refuses %s (ulimit -v, "
                                   "RLIMIT_AS, or the limit of the control group)\n",
                                   what);
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, line.data(), static_cast<std::size_t>(length));
  std::abort();
}

}  // namespace

void end_out_of_memory(std::size_t bytes) noexcept {
  std::array<char, 40> what{};
  std::snprintf(what.data(), what.size(), "%zu bytes", bytes);
  end_with(what.data());
}

void end_when_out_of_memory() noexcept {
  static const std::terminate_handler kBefore = std::get_terminate();
  std::set_terminate([] {
    if (std::current_exception()) {
      try {
        throw;
      } catch (const std::bad_alloc&) {
        end_with("more");
      } catch (...) {  // NOLINT(bugprone-empty-catch): kBefore says what it is
      }
    }
    kBefore();
  });
}

}  // namespace erlang_python
