// Extents of the segment file never overlap, keep their memory while there is not too much of it, and have a bound.
#include "segments/extents.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <vector>

using namespace erlang_python;

namespace {

constexpr std::uint64_t kBegin = std::uint64_t{1} << 36;
constexpr std::uint64_t kEnd = kBegin * 2;
constexpr std::size_t kMiB = 1024 * 1024;

}  // namespace

TEST_CASE("an extent that was given back is the next one of its size, with its memory") {
  Extents extents(kBegin, kEnd, 4 * kMiB, 100 * kMiB);
  std::vector<Segment> discarded;
  const auto first = extents.take(kMiB);
  REQUIRE(first);
  CHECK(*first >= kBegin);
  CHECK(extents.used_bytes() == kMiB);
  REQUIRE(extents.give_back(*first, discarded));
  CHECK(discarded.empty());
  CHECK(extents.idle_bytes() == kMiB);
  CHECK(extents.take(kMiB - 1) == first);
  CHECK(extents.idle_bytes() == 0);
}

TEST_CASE("what is idle for longest is discarded first, when all that is idle is too much") {
  Extents extents(kBegin, kEnd, 2 * kMiB, 100 * kMiB);
  std::vector<Segment> discarded;
  const auto a = extents.take(kMiB);
  const auto b = extents.take(kMiB);
  const auto c = extents.take(kMiB);
  REQUIRE(a);
  REQUIRE(b);
  REQUIRE(c);
  REQUIRE(extents.give_back(*b, discarded));
  REQUIRE(extents.give_back(*a, discarded));
  CHECK(discarded.empty());
  REQUIRE(extents.give_back(*c, discarded));
  REQUIRE(discarded.size() == 1);
  CHECK(discarded[0].offset == *b);
  CHECK(discarded[0].bytes == kMiB);
  CHECK(extents.idle_bytes() == 2 * kMiB);
}

TEST_CASE("one that is larger than all that may be idle is discarded itself") {
  Extents extents(kBegin, kEnd, kMiB, 100 * kMiB);
  std::vector<Segment> discarded;
  const auto large = extents.take(50 * kMiB);
  REQUIRE(large);
  REQUIRE(extents.give_back(*large, discarded));
  REQUIRE(discarded.size() == 1);
  CHECK(discarded[0].bytes == 50 * kMiB);
  CHECK(extents.idle_bytes() == 0);
}

TEST_CASE("no more is in use than the bound") {
  Extents extents(kBegin, kEnd, kMiB, 3 * kMiB);
  std::vector<Segment> discarded;
  const auto a = extents.take(2 * kMiB);
  REQUIRE(a);
  CHECK_FALSE(extents.take(2 * kMiB));
  CHECK(extents.take(kMiB));
  CHECK_FALSE(extents.take(1));
  REQUIRE(extents.give_back(*a, discarded));
  CHECK(extents.take(1));
}

TEST_CASE("what is not in use cannot be given back") {
  Extents extents(kBegin, kEnd, kMiB, 100 * kMiB);
  std::vector<Segment> discarded;
  CHECK_FALSE(extents.give_back(kBegin, discarded));
  const auto a = extents.take(kMiB);
  REQUIRE(a);
  CHECK_FALSE(extents.give_back(*a + 4096, discarded));
  CHECK(extents.give_back(*a, discarded));
  CHECK_FALSE(extents.give_back(*a, discarded));
}

TEST_CASE("a range that is full gives nothing") {
  Extents extents(kBegin, kBegin + 2 * kMiB, kMiB, 100 * kMiB);
  CHECK(extents.take(kMiB));
  CHECK(extents.take(kMiB));
  CHECK_FALSE(extents.take(kMiB));
  CHECK_FALSE(extents.take(0));
}

TEST_CASE("extents in use do not overlap, whatever is taken and given back") {
  std::mt19937 random(7);
  Extents extents(kBegin, kEnd, 16 * kMiB, 200 * kMiB);
  std::map<std::uint64_t, std::size_t> used;
  std::vector<Segment> discarded;
  for (int step = 0; step < 20000; ++step) {
    if (used.empty() || random() % 2 == 0) {
      const std::size_t bytes = 1 + random() % (4 * kMiB);
      const auto offset = extents.take(bytes);
      if (!offset) continue;
      const auto after = used.lower_bound(*offset);
      if (after != used.end()) REQUIRE(*offset + bytes <= after->first);
      if (after != used.begin()) REQUIRE(std::prev(after)->first + std::prev(after)->second <= *offset);
      used.emplace(*offset, bytes);
    } else {
      auto chosen = std::next(used.begin(), static_cast<std::ptrdiff_t>(random() % used.size()));
      REQUIRE(extents.give_back(chosen->first, discarded));
      used.erase(chosen);
    }
    std::size_t bytes = 0;
    for (const auto& [offset, size] : used) bytes += size;
    REQUIRE(extents.used_bytes() == bytes);
    REQUIRE(extents.idle_bytes() <= 16 * kMiB);
  }
}
