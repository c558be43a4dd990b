#include "runtime/stdio_claim.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

namespace erlang_python {
namespace {

constexpr int kFirstHighFd = 100;
// The largest pipe an unprivileged process may have; 1 MiB echoes take half the time they take with the default 64 KiB.
constexpr int kPipeBytes = 1024 * 1024;

Error system_error(const std::string& what) { return Error{what + ": " + strerror(errno)}; }

Result<UniqueFd> move_high(int fd) {
  UniqueFd moved(fcntl(fd, F_DUPFD_CLOEXEC, kFirstHighFd));
  if (!moved) return system_error("moving fd " + std::to_string(fd));
  const int flags = fcntl(moved.get(), F_GETFL);
  if (fcntl(moved.get(), F_SETFL, flags | O_NONBLOCK) != 0) return system_error("making fd non-blocking");
  fcntl(moved.get(), F_SETPIPE_SZ, kPipeBytes);  // only a hint: the other side may be no pipe
  return moved;
}

Status capture(int fd, UniqueFd& captured, UniqueFd& kept) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_error("capture pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  if (dup2(write_end.get(), fd) < 0) return system_error("capturing fd " + std::to_string(fd));
  captured = UniqueFd(fcntl(read_end.get(), F_DUPFD_CLOEXEC, kFirstHighFd));
  kept = UniqueFd(fcntl(write_end.get(), F_DUPFD_CLOEXEC, kFirstHighFd));
  if (!captured || !kept) return system_error("moving a capture pipe");
  // Only the read end: the write end stays blocking, since programs expect that of their standard output.
  if (fcntl(captured.get(), F_SETFL, O_NONBLOCK) != 0) return system_error("making a capture pipe non-blocking");
  fcntl(captured.get(), F_SETPIPE_SZ, kPipeBytes);  // nobody reads it while Python starts
  return {};
}

}  // namespace

Result<ClaimedStdio> claim_stdio() {
  ClaimedStdio claimed;
  auto requests = move_high(STDIN_FILENO);
  if (!requests) return requests.error();
  auto replies = move_high(STDOUT_FILENO);
  if (!replies) return replies.error();
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null || dup2(null.get(), STDIN_FILENO) < 0) return system_error("/dev/null on fd 0");
  if (Status out = capture(STDOUT_FILENO, claimed.captured_out, claimed.kept_out); !out) return out.error();
  if (Status error = capture(STDERR_FILENO, claimed.captured_error, claimed.kept_error); !error) return error.error();
  claimed.requests = std::move(*requests);
  claimed.replies = std::move(*replies);
  return claimed;
}

}  // namespace erlang_python
