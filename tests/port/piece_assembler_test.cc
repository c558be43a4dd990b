// Pieces are joined per sender, in order, within a limit, and not kept for senders that have gone.
#include "protocol/piece_assembler.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace erlang_python;

namespace {

constexpr std::int64_t kMinuteNs = 60'000'000'000;

}  // namespace

TEST_CASE("pieces of two senders do not mix") {
  PieceAssembler pieces(1000);
  const std::string a = "alias a";
  const std::string b = "alias b";
  pieces.add(bytes_of(a), bytes_of("1"), 0);
  pieces.add(bytes_of(b), bytes_of("x"), 0);
  pieces.add(bytes_of(a), bytes_of("2"), 0);
  const auto whole_b = pieces.finish(bytes_of(b), bytes_of("y"));
  const auto whole_a = pieces.finish(bytes_of(a), bytes_of("3"));
  REQUIRE(whole_a);
  REQUIRE(whole_b);
  CHECK(text_of(whole_a->bytes()) == "123");
  CHECK(text_of(whole_b->bytes()) == "xy");
  CHECK(pieces.kept_bytes() == 0);
}

TEST_CASE("a last piece without others is the whole") {
  PieceAssembler pieces(1000);
  const auto whole = pieces.finish(bytes_of("a"), bytes_of("only"));
  REQUIRE(whole);
  CHECK(text_of(whole->bytes()) == "only");
}

TEST_CASE("too large a value is dropped with its later pieces") {
  PieceAssembler pieces(10);
  const std::string megabyte(kMaxPieceBytes, 'x');
  pieces.add(bytes_of("a"), bytes_of(megabyte), 0);
  pieces.add(bytes_of("a"), bytes_of(megabyte), 0);
  pieces.add(bytes_of("a"), bytes_of(megabyte), 0);
  CHECK_FALSE(pieces.finish(bytes_of("a"), bytes_of("end")));
  CHECK(pieces.kept_bytes() == 0);
}

TEST_CASE("what a killed sender left is dropped after a minute, and never taken for a whole; what moves is kept") {
  PieceAssembler pieces(1000);
  pieces.add(bytes_of("dead"), bytes_of("1"), 0);
  pieces.add(bytes_of("alive"), bytes_of("1"), kMinuteNs);
  pieces.forget_abandoned(kMinuteNs + 1);
  CHECK(pieces.kept_bytes() == 1);
  CHECK_FALSE(pieces.finish(bytes_of("dead"), bytes_of("2")));
  const auto alive = pieces.finish(bytes_of("alive"), bytes_of("2"));
  REQUIRE(alive);
  CHECK(text_of(alive->bytes()) == "12");
}
