// The floor that tools/bench measures against: a port program that does nothing but send back what it reads.
//
// Frames go back byte by byte as they came, length included, so it does not even have to know where one ends. Like the
// real port program it makes its pipes 1 MiB large, and polls for up to 50 us before it sleeps if it has two cores.

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <vector>

namespace {

constexpr int kStdin = 0;
constexpr int kStdout = 1;
constexpr int kPipeBytes = 1 << 20;
constexpr std::chrono::microseconds kSpin{50};

/// On a single core polling keeps the BEAM from writing what is polled for.
std::chrono::microseconds spin_time() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) == 1) return std::chrono::microseconds{0};
  return kSpin;
}

void prepare(int fd) {
  // Not a pipe, or beyond /proc/sys/fs/pipe-max-size: then it keeps its size.
  (void)fcntl(fd, F_SETPIPE_SZ, kPipeBytes);
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void sleep_until(int fd, short events) {
  pollfd entry{fd, events, 0};
  (void)poll(&entry, 1, -1);
}

/// At least one byte; 0 at the end of the input or on an error.
std::size_t read_some(std::vector<char>& buffer, std::chrono::microseconds spin) {
  auto deadline = std::chrono::steady_clock::now() + spin;
  for (;;) {
    const ssize_t count = read(kStdin, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EAGAIN && errno != EINTR) return 0;
    if (std::chrono::steady_clock::now() < deadline) continue;
    sleep_until(kStdin, POLLIN);
    deadline = std::chrono::steady_clock::now() + spin;
  }
}

bool write_all(const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t count = write(kStdout, data, size);
    if (count >= 0) {
      data += count;
      size -= static_cast<std::size_t>(count);
    } else if (errno == EAGAIN) {
      sleep_until(kStdout, POLLOUT);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  prepare(kStdin);
  prepare(kStdout);
  const auto spin = spin_time();
  std::vector<char> buffer(kPipeBytes);
  for (;;) {
    const std::size_t size = read_some(buffer, spin);
    if (size == 0 || !write_all(buffer.data(), size)) return 0;
  }
}
