// What work in other threads is to the request that it has left, and the numbers of chains that tell threads apart.
#include "request/belonging.h"

#include <doctest/doctest.h>

#include <set>

#include "base/chain.h"

using namespace erlang_python;
using Work = Belonging::Work;

TEST_CASE("work is its request's until that has ended, and nobody's from then on") {
  Belonging request;
  const auto left = request.leave();
  CHECK(request.begin(left) == Work::kIts);
  request.end();
  CHECK(request.begin(left) == Work::kNobodys);
  CHECK(request.ended());
}

TEST_CASE("work that has left before its request was told is told when it begins, and what leaves later is not") {
  Belonging request;
  const auto before = request.leave();
  request.tell();
  const auto in_finally = request.leave();
  CHECK(request.begin(before) == Work::kTold);
  CHECK(request.begin(in_finally) == Work::kIts);
  request.tell();
  CHECK(request.begin(in_finally) == Work::kTold);
  request.end();
  CHECK(request.begin(before) == Work::kNobodys);
}

TEST_CASE("a guest's work is told what is told to the request whose thread serves the guest") {
  Belonging request;
  Belonging guest;
  const auto left = request.with_guest(guest).leave();
  CHECK(request.with_guest(guest).begin(left) == Work::kIts);
  request.tell();
  CHECK(request.with_guest(guest).begin(left) == Work::kTold);
  guest.tell();
  CHECK(request.with_guest(guest).begin(request.with_guest(guest).leave()) == Work::kIts);
  request.end();
  CHECK_FALSE(request.with_guest(guest).ended());
  guest.end();
  CHECK(request.with_guest(guest).ended());
}

TEST_CASE("the lines of a chain are of its age, and differ from it and from one another") {
  const std::uint64_t chain = std::uint64_t{77} << kLineBits;
  std::set<std::uint64_t> lines{chain};
  for (std::uint64_t count = 1000; count < 1255; ++count) {
    const std::uint64_t line = line_of_chain(chain, count);
    CHECK(same_age(line, chain));
    CHECK(not_newer(line, chain));
    CHECK(not_newer(chain, line));
    CHECK(lines.insert(line).second);
    CHECK(line_of_chain(line, count) == line);
  }
  const std::uint64_t next = chain + (std::uint64_t{1} << kLineBits);
  for (const std::uint64_t line : lines) {
    CHECK(line < next);
    CHECK_FALSE(not_newer(next, line));
    CHECK(not_newer(line, next));
    CHECK_FALSE(same_age(line, next));
  }
}
