// Frames reach Erlang whole and in order although many threads write and the pipe is full, and large replies come in
// pieces.
#include "runtime/stdout_writer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "protocol/frame_parser.h"

using namespace erlang_python;

namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
  Pipe() {
    std::array<int, 2> ends{};
    REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
    fcntl(write_end.get(), F_SETFL, O_NONBLOCK);
  }
};

std::vector<std::vector<std::uint8_t>> read_frames(int fd, std::size_t count) {
  FrameParser parser;
  std::vector<std::vector<std::uint8_t>> frames;
  while (frames.size() < count) {
    const auto room = parser.writable();
    const ssize_t n = read(fd, room.data(), room.size());
    REQUIRE(n > 0);
    parser.commit(static_cast<std::size_t>(n));
    while (auto frame = parser.next()) frames.emplace_back(frame->bytes().begin(), frame->bytes().end());
  }
  return frames;
}

/// What the loop thread does: drains while there is a backlog, until told to end.
void drain_until(StdoutWriter& writer, const std::atomic<bool>& end) {
  for (;;) {
    if (writer.drain() && end.load()) return;
    pollfd writable{writer.fd(), POLLOUT, 0};
    poll(&writable, 1, 1);
  }
}

}  // namespace

TEST_CASE("frames of many threads do not mix and keep each thread's order") {
  Pipe pipe;
  const int read_fd = pipe.read_end.get();
  StdoutWriter writer(std::move(pipe.write_end));
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kFrames = 500;
  std::atomic<bool> end = false;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kFrames; ++i) {
        const std::size_t size = 8 + (i * 7919 + t) % 20'000;
        std::vector<std::uint8_t> frame(kLengthBytes + size, static_cast<std::uint8_t>(t));
        write_be32(frame.data(), size);
        write_be32(frame.data() + kLengthBytes, t);
        write_be32(frame.data() + kLengthBytes + 4, i);
        writer.send(frame);
        if (writer.congested()) writer.wait_for_room();
      }
    });
  }
  std::thread drainer([&] { drain_until(writer, end); });
  const auto frames = read_frames(read_fd, kThreads * kFrames);
  for (auto& thread : threads) thread.join();
  end = true;
  drainer.join();
  std::map<std::uint32_t, std::uint32_t> next;
  for (const auto& frame : frames) {
    const std::uint32_t t = read_be32(frame.data());
    REQUIRE(t < kThreads);
    CHECK(read_be32(frame.data() + 4) == next[t]++);
    CHECK(frame.size() == 8 + (read_be32(frame.data() + 4) * 7919UL + t) % 20'000);
    if (frame.size() > 8) CHECK(frame.back() == t);
  }
}

TEST_CASE("a reply of more than one piece") {
  Pipe pipe;
  const int read_fd = pipe.read_end.get();
  StdoutWriter writer(std::move(pipe.write_end));
  std::atomic<bool> end = false;
  std::thread drainer([&] { drain_until(writer, end); });
  const std::vector<std::uint8_t> alias_term = {106};  // any term will do: []
  TermWriter out;
  begin_reply(out, alias_term, 5);
  const std::size_t payload_start = out.size();
  std::vector<std::uint8_t> payload(2 * kMaxPieceBytes + 77);
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::uint8_t>(i / 1000);
  out.raw(payload);
  std::thread sender([&] { writer.send_in_pieces(out, payload_start, alias_term); });
  const auto frames = read_frames(read_fd, 3);
  sender.join();
  end = true;
  drainer.join();
  std::vector<std::uint8_t> joined;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    TermReader reader(frames[i]);
    REQUIRE(reader.read_version());
    const bool last = i + 1 == frames.size();
    CHECK(reader.read_tuple_header() == std::size_t{last ? 3U : 2U});
    CHECK(reader.read_int64() == static_cast<int>(last ? Notice::kReply : Notice::kPiece));
    CHECK(reader.skip());
    if (last) CHECK(reader.read_int64() == 5);
    CHECK(frames[i].size() <= kMaxFrameBytes);
    joined.insert(joined.end(), frames[i].begin() + static_cast<std::ptrdiff_t>(reader.position()), frames[i].end());
  }
  CHECK(joined == payload);
}

TEST_CASE("a pipe that code in the process has closed ends the process, and one that Erlang has closed does not") {
  const std::vector<std::uint8_t> frame(kLengthBytes + 8);
  const auto status_after = [&frame](bool by_code) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGPIPE, SIG_IGN);
      Pipe pipe;
      StdoutWriter writer(std::move(pipe.write_end));
      pipe.read_end = UniqueFd();
      if (by_code) close(writer.fd());
      writer.send(frame);
      _exit(7);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
  };
  CHECK(status_after(true) == EX_IOERR);
  CHECK(status_after(false) == 7);
}
