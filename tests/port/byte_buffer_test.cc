// A buffer keeps its bytes while it grows, gives memory back, and moves.
#include "base/byte_buffer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

using namespace erlang_python;

namespace {

std::vector<std::uint8_t> content(const ByteBuffer& buffer) { return {buffer.bytes().begin(), buffer.bytes().end()}; }

/// So many different bytes.
std::vector<std::uint8_t> some(std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{7});
  return bytes;
}

}  // namespace

TEST_CASE("byte buffer: what is appended in parts of any size stands there in order") {
  ByteBuffer buffer;
  std::vector<std::uint8_t> all;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{255}, std::size_t{256}, std::size_t{3},
                                 std::size_t{70'000}, std::size_t{0}, std::size_t{1}}) {
    buffer.append(some(size));
    const auto part = some(size);
    all.insert(all.end(), part.begin(), part.end());
  }
  CHECK(content(buffer) == all);
}

TEST_CASE("byte buffer: the front goes, the end is cut, memory is given back, and the rest stays") {
  ByteBuffer buffer;
  buffer.append(some(1000));
  buffer.drop_front(10);
  buffer.truncate(90);
  buffer.shrink(0);
  const auto all = some(1000);
  CHECK(content(buffer) == std::vector<std::uint8_t>(all.begin() + 10, all.begin() + 100));
  buffer.drop_front(90);
  CHECK(buffer.size() == 0);
  buffer.shrink(0);
  buffer.append(some(5));
  CHECK(content(buffer) == some(5));
}

TEST_CASE("byte buffer: it has the size that it is made with, and what it is moved from is empty and of use") {
  ByteBuffer buffer(3);
  std::copy_n(some(3).begin(), 3, buffer.data());
  ByteBuffer taken = std::move(buffer);
  CHECK(content(taken) == some(3));
  CHECK(buffer.size() == 0);  // NOLINT(bugprone-use-after-move): it is what is tested
  buffer.append(some(2));
  CHECK(content(buffer) == some(2));
  taken = std::move(buffer);
  CHECK(content(taken) == some(2));
}

TEST_CASE("bytes: what is ASCII is known in texts of any length, wherever the other byte stands") {
  for (std::size_t length = 0; length < 100; ++length) {
    std::vector<std::uint8_t> text(length, 0x7F);
    CHECK(is_ascii(text));
    for (std::size_t at = 0; at < length; ++at) {
      text[at] = 0x80;
      CHECK_FALSE(is_ascii(text));
      text[at] = 0x7F;
    }
  }
}

TEST_CASE("bytes: integers of the wire have the highest byte first") {
  std::uint8_t bytes[4];
  write_be32(bytes, 0x01020384);
  CHECK(std::vector<std::uint8_t>(bytes, bytes + 4) == std::vector<std::uint8_t>{1, 2, 3, 0x84});
  CHECK(read_be32(bytes) == 0x01020384);
  CHECK(read_be16(bytes + 2) == 0x0384);
}
