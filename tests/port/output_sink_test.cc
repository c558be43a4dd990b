// Output becomes lines with their context, cut and limited in rate, and nothing of it is lost in silence.
#include "runtime/output_sink.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "protocol/frame_parser.h"

using namespace erlang_python;

namespace {

struct Line {
  std::int64_t fd;
  std::int64_t context;
  std::string text;
  bool operator==(const Line&) const = default;
};

struct Fixture {
  UniqueFd read_end;
  std::unique_ptr<StdoutWriter> writer;
  std::unique_ptr<OutputSink> sink;
  std::int64_t dropped = 0;

  Fixture() {
    std::array<int, 2> ends{};
    REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    read_end = UniqueFd(ends[0]);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    writer = std::make_unique<StdoutWriter>(UniqueFd(ends[1]));
    sink = std::make_unique<OutputSink>(*writer);
  }

  void write(int fd, ContextId context, const std::string& text) {
    sink->write(fd, context, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }

  std::vector<Line> lines() {
    std::vector<Line> found;
    FrameParser parser;
    for (;;) {
      const auto room = parser.writable();
      const ssize_t n = read(read_end.get(), room.data(), room.size());
      if (n <= 0) return found;
      parser.commit(static_cast<std::size_t>(n));
      while (auto frame = parser.next()) {
        TermReader reader(frame->bytes());
        REQUIRE(reader.read_version());
        REQUIRE(reader.read_tuple_header());
        const auto notice = reader.read_int64();
        if (notice == static_cast<int>(Notice::kOutputDropped)) {
          dropped += *reader.read_int64();
          continue;
        }
        REQUIRE(notice == static_cast<int>(Notice::kOutput));
        const auto fd = reader.read_int64();
        const auto context = reader.read_int64();
        const auto text = reader.read_binary();
        found.push_back({*fd, *context, {reinterpret_cast<const char*>(text->data()), text->size()}});
      }
    }
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "lines are joined from parts, per context and descriptor") {
  write(1, 1, "he");
  write(1, 2, "other\n");
  write(2, 1, "error\n");
  write(1, 1, "llo\nworld\n\npart");
  CHECK(lines() == std::vector<Line>{{1, 2, "other"}, {2, 1, "error"}, {1, 1, "hello"}, {1, 1, "world"}, {1, 1, ""}});
  sink->flush(2);
  CHECK(lines().empty());
  sink->flush(1);
  CHECK(lines() == std::vector<Line>{{1, 1, "part"}});
  sink->flush(1);
  CHECK(lines().empty());
}

TEST_CASE_FIXTURE(Fixture, "an unfinished line of no known context asks to be tended, and is sent then") {
  int rung = 0;
  sink->set_tend_bell([&] { ++rung; });
  write(1, 0, "prompt> ");
  write(1, 3, "of a request");
  CHECK(rung == 1);
  CHECK(lines().empty());
  sink->tend();
  CHECK(lines() == std::vector<Line>{{1, 0, "prompt> "}});
  sink->forget(3);
  CHECK(lines() == std::vector<Line>{{1, 3, "of a request"}});
}

TEST_CASE_FIXTURE(Fixture, "a line without end is cut and not kept") {
  for (int i = 0; i < 100; ++i) write(1, 1, std::string(1000, 'x'));
  write(1, 1, "\nnext\n");
  const auto found = lines();
  REQUIRE(found.size() == 2);
  CHECK(found[0].text == std::string(OutputSink::kMaxLineBytes, 'x'));
  CHECK(found[1].text == "next");
}

TEST_CASE_FIXTURE(Fixture, "a flood is limited, and every line is either sent or counted") {
  bool rung = false;
  sink->set_tend_bell([&] { rung = true; });
  constexpr std::int64_t kLines = 20'000;
  std::int64_t received = 0;
  for (std::int64_t i = 0; i < kLines; ++i) {
    write(1, 1, "flood\n");
    if (i % 1000 == 0) received += static_cast<std::int64_t>(lines().size());
  }
  sink->tend();
  received += static_cast<std::int64_t>(lines().size());
  CHECK(rung);
  CHECK(dropped > 0);
  CHECK(received >= OutputSink::kBurstLines);
  CHECK(received + dropped == kLines);
}
