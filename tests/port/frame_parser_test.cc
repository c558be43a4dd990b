// Frames come out of the byte stream whole, whatever the reads look like, and hostile lengths cost nothing.
#include "protocol/frame_parser.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using namespace erlang_python;

namespace {

using Buffer = std::vector<std::uint8_t>;

void append_frame(Buffer& stream, const Buffer& content) {
  std::uint8_t length[kLengthBytes];
  write_be32(length, content.size());
  stream.insert(stream.end(), length, length + kLengthBytes);
  stream.insert(stream.end(), content.begin(), content.end());
}

/// Feeds `stream` in reads of the sizes that `next_size` gives and returns the frames.
template <typename NextSize>
std::vector<Buffer> parse(FrameParser& parser, const Buffer& stream, NextSize next_size) {
  std::vector<Buffer> frames;
  std::size_t fed = 0;
  while (fed < stream.size()) {
    const auto room = parser.writable();
    REQUIRE(!room.empty());
    const std::size_t n = std::min({room.size(), stream.size() - fed, std::max<std::size_t>(1, next_size())});
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(fed), n, room.begin());
    parser.commit(n);
    fed += n;
    while (auto frame = parser.next()) frames.emplace_back(frame->bytes().begin(), frame->bytes().end());
  }
  return frames;
}

Buffer content_of(std::size_t size, std::uint8_t seed) {
  Buffer content(size);
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<std::uint8_t>(i * 31 + seed);
  return content;
}

}  // namespace

TEST_CASE("frames survive reads of one byte") {
  Buffer stream;
  const std::vector<Buffer> sent = {content_of(0, 1), content_of(1, 2), content_of(300, 3), content_of(0, 4)};
  for (const auto& content : sent) append_frame(stream, content);
  FrameParser parser;
  CHECK(parse(parser, stream, [] { return 1; }) == sent);
}

TEST_CASE("frames of all sizes survive reads of random sizes") {
  std::mt19937 random(42);
  for (int round = 0; round < 20; ++round) {
    Buffer stream;
    std::vector<Buffer> sent;
    for (int i = 0; i < 40; ++i) {
      const std::size_t sizes[] = {random() % 100, 65'530 + random() % 20, random() % 200'000, kMaxFrameBytes};
      sent.push_back(content_of(sizes[random() % (i % 10 == 0 ? 4 : 3)], static_cast<std::uint8_t>(i)));
      append_frame(stream, sent.back());
    }
    FrameParser parser;
    CHECK(parse(parser, stream, [&] { return random() % 100'000; }) == sent);
  }
}

TEST_CASE("a frame that is too long is passed over and the next one is read") {
  Buffer stream;
  append_frame(stream, content_of(10, 1));
  append_frame(stream, content_of(kMaxFrameBytes + 1, 2));
  append_frame(stream, content_of(20, 3));
  for (std::size_t step : {std::size_t{1'000'000}, std::size_t{7'777}}) {
    FrameParser parser;
    const auto frames = parse(parser, stream, [&] { return step; });
    REQUIRE(frames.size() == 2);
    CHECK(frames[0] == content_of(10, 1));
    CHECK(frames[1] == content_of(20, 3));
    CHECK(parser.take_refused() == kMaxFrameBytes + 1);
    CHECK_FALSE(parser.take_refused());
  }
}

TEST_CASE("a length of four gigabytes allocates nothing and stops nothing at once") {
  FrameParser parser;
  const Buffer stream = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
  CHECK(parse(parser, stream, [] { return 100; }).empty());
  CHECK(parser.take_refused() == 0xffffffff);
  CHECK(parser.writable().size() <= 64 * 1024);
}
