// Replies leave together only while many come, a few at a time, and none is left behind by that or overtaken.
#include "runtime/reply_batch.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

#include "protocol/frame_parser.h"
#include "runtime/stdout_writer.h"

using namespace erlang_python;

namespace {

/// A writer to a pipe, and what has come out of it: the last element of each frame's header.
struct Output {
  UniqueFd read_end;
  std::unique_ptr<StdoutWriter> writer;
  FrameParser parser;

  Output() {
    std::array<int, 2> ends{};
    REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    read_end = UniqueFd(ends[0]);
    writer = std::make_unique<StdoutWriter>(UniqueFd(ends[1]));
    for (std::size_t i = 0; i < ReplyRate::kDense; ++i) reply(0, false);
    writer->tick();
    static_cast<void>(take());
    REQUIRE(writer->joins_replies());
  }
  void reply(std::int64_t number, bool more) const {
    TermWriter out;
    begin_notice(out, Notice::kOutputDropped, 1);
    out.integer(number);
    writer->send_reply(out, out.size(), {}, more);
  }
  void message() const {
    TermWriter out;
    out.version();
    out.tuple_header(0);
    writer->send_message(out);
    writer->flush_batches();
  }
  std::vector<int> take() {
    std::vector<int> numbers;
    for (;;) {
      const auto room = parser.writable();
      const ssize_t n = read(read_end.get(), room.data(), room.size());
      if (n <= 0) return numbers;
      parser.commit(static_cast<std::size_t>(n));
      while (auto frame = parser.next()) {
        const Bytes bytes = frame->bytes();
        numbers.push_back(bytes[4] == static_cast<std::uint8_t>(Notice::kMessages) ? -1 : bytes.back());
      }
    }
  }
};

}  // namespace

TEST_CASE("many replies in a tick are dense, and few end it") {
  ReplyRate rate;
  for (std::size_t i = 0; i < ReplyRate::kDense; ++i) rate.count();
  CHECK_FALSE(rate.is_dense());
  rate.tick();
  CHECK(rate.is_dense());
  for (std::size_t i = 1; i < ReplyRate::kDense; ++i) rate.count();
  rate.tick();
  CHECK_FALSE(rate.is_dense());
}

TEST_CASE("a few small replies wait for each other") {
  const std::vector<std::uint8_t> reply{0, 0, 0, 1, 7};
  ReplyBatch batch;
  for (std::size_t i = 1; i < ReplyBatch::kTogether; ++i) CHECK(batch.keep(reply));
  CHECK(batch.bytes().size() == (ReplyBatch::kTogether - 1) * reply.size());
  CHECK_FALSE(batch.keep(reply));
  batch.clear();
  CHECK(batch.empty());
  CHECK_FALSE(batch.keep(std::vector<std::uint8_t>(ReplyBatch::kSmallBytes + 1)));
}

TEST_CASE("a reply waits only while many come, and for one that follows") {
  Output output;
  output.reply(1, false);
  CHECK(output.take() == std::vector<int>{1});
  output.writer->tick();
  output.reply(2, true);
  CHECK(output.take() == std::vector<int>{2});
}

TEST_CASE("what waits leaves with the next reply, at a tick, and before anything else") {
  Output output;
  output.reply(1, true);
  output.reply(2, true);
  CHECK(output.take().empty());
  CHECK(output.writer->has_batches());
  output.reply(3, false);
  CHECK(output.take() == std::vector<int>{1, 2, 3});
  CHECK_FALSE(output.writer->has_batches());

  output.reply(4, true);
  output.message();
  CHECK(output.take() == std::vector<int>{4, -1});

  output.reply(5, true);
  TermWriter other;
  begin_notice(other, Notice::kOutputDropped, 1);
  other.integer(6);
  finish_frame(other);
  output.writer->send(other.bytes());
  CHECK(output.take() == std::vector<int>{5, 6});

  output.reply(7, true);
  output.writer->tick();
  CHECK(output.take() == std::vector<int>{7});
  CHECK_FALSE(output.writer->joins_replies());
  output.reply(8, true);
  CHECK(output.take() == std::vector<int>{8});
}

TEST_CASE("what waits is in the last words of a process that crashes") {
  Output output;
  output.reply(1, true);
  TermWriter last;
  begin_notice(last, Notice::kOutputDropped, 1);
  last.integer(2);
  finish_frame(last);
  output.writer->send_from_signal_handler(last.bytes());
  CHECK(output.take() == std::vector<int>{1, 2});
}
