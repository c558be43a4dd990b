// The collector runs for what was left when that has grown large, is many, or is there for long.
#include "python/leftovers.h"

#include <doctest/doctest.h>

using namespace erlang_python;

namespace {

constexpr std::size_t kMiB = 1024 * 1024;
constexpr std::int64_t kSecond = 1'000 * kNsPerMs;

}  // namespace

TEST_CASE("nothing left, nothing to collect") {
  Leftovers left;
  CHECK_FALSE(left.any());
  CHECK_FALSE(left.due(10'000 * kMiB, 1'000 * kSecond));
}

TEST_CASE("due when the process has grown since it began, the first that was left too") {
  Leftovers left;
  left.open(100 * kMiB);
  left.add(kSecond);
  left.add(kSecond);
  CHECK(left.any());
  CHECK_FALSE(left.due(131 * kMiB, kSecond));
  CHECK(left.due(132 * kMiB, kSecond));
}

TEST_CASE("a large process may grow by a quarter") {
  Leftovers left;
  left.open(1'000 * kMiB);
  left.add(kSecond);
  CHECK_FALSE(left.due(1'249 * kMiB, kSecond));
  CHECK(left.due(1'250 * kMiB, kSecond));
}

TEST_CASE("due when the first was left long ago") {
  Leftovers left;
  left.open(kMiB);
  left.add(5 * kSecond);
  CHECK_FALSE(left.due(kMiB, 14 * kSecond));
  CHECK(left.due(kMiB, 15 * kSecond));
}

TEST_CASE("due when there are many") {
  Leftovers left;
  left.open(kMiB);
  for (int i = 0; i < 999; ++i) left.add(kSecond);
  CHECK_FALSE(left.due(kMiB, 2 * kSecond));
  left.add(2 * kSecond);
  CHECK(left.due(kMiB, 2 * kSecond));
}

TEST_CASE("where collecting takes long it is not done all the time") {
  Leftovers left;
  left.open(kMiB);
  left.add(0);
  left.begin_collection(0);
  left.end_collection(kMiB, kSecond);
  CHECK_FALSE(left.any());
  left.add(100 * kSecond);
  CHECK_FALSE(left.due(kMiB, 149 * kSecond));
  CHECK(left.due(kMiB, 150 * kSecond));
  for (int i = 0; i < 1'000; ++i) left.add(100 * kSecond);
  CHECK_FALSE(left.due(kMiB, 109 * kSecond));
  CHECK(left.due(kMiB, 110 * kSecond));
  CHECK(left.due(34 * kMiB, 101 * kSecond));
}

TEST_CASE("what a collection has left is no growth, and what opens again is none either") {
  Leftovers left;
  left.open(100 * kMiB);
  left.add(0);
  CHECK(left.due(200 * kMiB, 0));
  left.begin_collection(0);
  left.end_collection(200 * kMiB, 0);
  left.open(10 * kMiB);
  left.add(0);
  CHECK_FALSE(left.due(249 * kMiB, 0));
  CHECK(left.due(250 * kMiB, 0));
}
