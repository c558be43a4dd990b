// What the writer writes is what OTP reads (the bytes are those of term_to_binary), and never more than its limit.
#include <doctest/doctest.h>

#include "etf/term_writer.h"
#include "etf_samples.h"

using namespace erlang_python;

namespace {

template <typename Write>
Buffer written(Write write) {
  TermWriter out;
  write(out);
  CHECK(out.wanted_bytes() == out.size());
  return {out.bytes().begin(), out.bytes().end()};
}

Buffer integer(std::int64_t value) {
  return written([&](TermWriter& out) { out.integer(value); });
}

}  // namespace

TEST_CASE("writer: integers take the smallest form") {
  CHECK(integer(0) == Buffer{97, 0});
  CHECK(integer(255) == Buffer{97, 255});
  CHECK(integer(256) == Buffer{98, 0, 0, 1, 0});
  CHECK(integer(-1) == Buffer{98, 0xFF, 0xFF, 0xFF, 0xFF});
  CHECK(integer(INT32_MAX) == Buffer{98, 0x7F, 0xFF, 0xFF, 0xFF});
  CHECK(integer(INT32_MIN) == Buffer{98, 0x80, 0, 0, 0});
  CHECK(integer(INT64_C(1) << 31) == Buffer{110, 4, 0, 0, 0, 0, 0x80});
  CHECK(integer(INT64_MIN) == Buffer{110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0x80});
}

TEST_CASE("writer: integers of 64 bits are read back") {
  for (int shift = 0; shift < 64; ++shift) {
    for (int offset : {-1, 0, 1}) {
      const auto value = static_cast<std::int64_t>((UINT64_C(1) << shift) + static_cast<std::uint64_t>(offset));
      for (const std::int64_t signed_value : {value, static_cast<std::int64_t>(-static_cast<std::uint64_t>(value))}) {
        const Buffer bytes = integer(signed_value);
        TermReader reader{Bytes(bytes)};
        CHECK(reader.read_int64() == signed_value);
        CHECK(reader.at_end());
      }
    }
  }
}

TEST_CASE("writer: large integers lose leading zeros and change form at 256 bytes") {
  const Buffer short_one = {1, 0, 0};
  CHECK(written([&](TermWriter& out) { out.big_integer(true, short_one); }) == Buffer{110, 1, 1, 1});
  const Buffer long_one(256, 0xFF);
  CHECK(written([&](TermWriter& out) { out.big_integer(false, long_one); }) == Buffer{111, 0, 0, 1, 0, 0} + long_one);
}

TEST_CASE("writer: atoms, floats and binaries") {
  CHECK(written([](TermWriter& out) { out.atom("ok"); }) == atom_bytes("ok"));
  const std::string wide = [] {
    std::string name;
    for (int i = 0; i < 255; ++i) name += "\xF0\x9F\x98\x80";
    return name;
  }();
  CHECK(written([&](TermWriter& out) { out.atom(wide); }) == Buffer{118, 3, 0xFC} + text_bytes(wide));
  CHECK(written([](TermWriter& out) { out.real(1.5); }) == Buffer{70, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0});
  CHECK(written([](TermWriter& out) { out.real(-0.0); }) == Buffer{70, 0x80, 0, 0, 0, 0, 0, 0, 0});
  CHECK(written([](TermWriter& out) { out.binary("abc"); }) == Buffer{109, 0, 0, 0, 3, 'a', 'b', 'c'});
  CHECK(written([](TermWriter& out) { out.binary(Bytes()); }) == Buffer{109, 0, 0, 0, 0});
}

TEST_CASE("writer: headers") {
  CHECK(written([](TermWriter& out) { out.version(); }) == Buffer{131});
  CHECK(written([](TermWriter& out) { out.tuple_header(255); }) == Buffer{104, 255});
  CHECK(written([](TermWriter& out) { out.tuple_header(256); }) == Buffer{105, 0, 0, 1, 0});
  CHECK(written([](TermWriter& out) { out.list_header(3); }) == Buffer{108, 0, 0, 0, 3});
  CHECK(written([](TermWriter& out) { out.list_header(0); }) == Buffer{106});
  CHECK(written([](TermWriter& out) { out.map_header(1); }) == Buffer{116, 0, 0, 0, 1});
}

TEST_CASE("writer: past its limit it keeps what it had and goes on counting") {
  TermWriter out(10);
  out.integer(1);
  out.integer(2);
  out.binary("abcdefgh");
  CHECK(out.overflowed());
  CHECK(out.size() == 4);
  CHECK(out.wanted_bytes() == 17);
  out.nil();  // would fit again by itself, but what comes after a gap has no meaning
  CHECK(out.size() == 4);
  CHECK(out.wanted_bytes() == 18);
  out.truncate(2);
  CHECK(!out.overflowed());
  out.nil();
  CHECK(Buffer(out.bytes().begin(), out.bytes().end()) == Buffer{97, 1, 106});
  out.clear();
  CHECK(out.size() == 0);
  CHECK(out.wanted_bytes() == 0);
}

TEST_CASE("writer: a limit is exact") {
  TermWriter out(4);
  out.integer(1);
  out.integer(2);
  CHECK(!out.overflowed());
  out.nil();
  CHECK(out.overflowed());
}

TEST_CASE("writer: counts that need more than 32 bits overflow instead of being cut") {
  TermWriter out;
  out.list_header((std::size_t{1} << 32) + 1);
  CHECK(out.overflowed());
  CHECK(out.size() == 0);
}

TEST_CASE("writer: shrinking keeps the contents") {
  TermWriter out;
  const Buffer large(1 << 20, 'x');
  out.raw(large);
  out.shrink(16);
  CHECK(Buffer(out.bytes().begin(), out.bytes().end()) == large);
  out.clear();
  out.shrink(16);
  out.binary("still usable, and grows again");
  CHECK(out.size() == 34);
}

TEST_CASE("writer: what a term takes when it is decoded has a limit of its own") {
  TermWriter out(TermLimits{.bytes = 1000, .heap_bytes = 100});
  out.list_header(6);  // 96 bytes of cells for 6 bytes of elements
  CHECK(!out.overflowed());
  CHECK(out.heap_bytes() == 96);
  out.real(1.5);
  CHECK(out.overflowed());
  CHECK(out.excess(0, 0).bytes == 112);
  CHECK(out.excess(0, 0).max_bytes == 100);
  out.truncate(0);
  CHECK(!out.overflowed());
  out.tuple_header(0);
  out.nil();
  out.integer(INT64_C(1) << 40);
  out.atom("name");
  CHECK(out.heap_bytes() == 0);
  out.tuple_header(2);
  CHECK(out.heap_bytes() == 24);
  out.map_header(1);
  CHECK(out.heap_bytes() == 24 + 48);
  out.binary("four");
  CHECK(out.heap_bytes() == 24 + 48 + 28);
  CHECK(!out.overflowed());
  out.integer(INT64_MIN);
  CHECK(out.excess(0, 0).bytes == 24 + 48 + 28 + 16);
}

TEST_CASE("writer: an integer that no BEAM holds is refused by its own size, others by that of the value") {
  TermWriter out(TermLimits{.bytes = 1000, .heap_bytes = 1000, .integer_bytes = 50});
  CHECK(out.has_room_for_integer(50));
  CHECK(!out.has_room_for_integer(51));
  CHECK(out.overflowed());
  CHECK(out.excess(0, 0).bytes == 51);
  CHECK(out.excess(0, 0).max_bytes == 50);
  out.clear();
  CHECK(!out.overflowed());
  TermWriter small(TermLimits{.bytes = 20});
  small.nil();
  CHECK(!small.has_room_for_integer(30));
  CHECK(small.overflowed());
  CHECK(small.excess(1, 5).bytes == 30);
  CHECK(small.excess(1, 5).max_bytes == 15);
}
