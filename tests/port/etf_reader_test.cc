// A reader takes every term that OTP writes and refuses everything else without touching a byte that is not there.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "etf/term_reader.h"
#include "etf_samples.h"

using namespace erlang_python;

namespace {

std::optional<std::size_t> skipped(const Buffer& bytes) {
  const ExactCopy copy(bytes);
  TermReader reader(copy.bytes());
  const auto term = reader.skip();
  if (!term) {
    CHECK(reader.position() == 0);
    return std::nullopt;
  }
  CHECK(term->data() == copy.bytes().data());
  CHECK(reader.position() == term->size());
  return term->size();
}

/// Calls every read at the position of the reader; each must leave it where it was when it fails.
void try_everything(Bytes bytes) {
  const auto attempt = [&](auto read) {
    TermReader reader(bytes);
    if (!read(reader)) {
      CHECK(reader.position() == 0);
    }
    CHECK(reader.position() <= bytes.size());
  };
  attempt([](TermReader& r) { return r.read_version(); });
  attempt([](TermReader& r) { return r.read_atom().has_value(); });
  attempt([](TermReader& r) { return r.read_int64().has_value(); });
  attempt([](TermReader& r) { return r.read_big().has_value(); });
  attempt([](TermReader& r) { return r.read_double().has_value(); });
  attempt([](TermReader& r) { return r.read_binary().has_value(); });
  attempt([](TermReader& r) { return r.read_string().has_value(); });
  attempt([](TermReader& r) { return r.read_tuple_header().has_value(); });
  attempt([](TermReader& r) { return r.read_list_header().has_value(); });
  attempt([](TermReader& r) { return r.read_map_header().has_value(); });
  attempt([](TermReader& r) { return r.read_nil(); });
  attempt([](TermReader& r) { return r.read_name().has_value(); });
  attempt([](TermReader& r) { return r.skip().has_value(); });
}

TermReader reader_of(const Buffer& bytes) { return TermReader(Bytes(bytes)); }

}  // namespace

TEST_CASE("reader: skip passes over exactly one term of every kind") {
  for (const Buffer& term : sample_terms()) {
    CAPTURE(static_cast<int>(term[0]));
    CHECK(skipped(term) == term.size());
    CHECK(skipped(term + Buffer{1, 2, 3}) == term.size());
    CHECK(reader_of(term).peek() != TermKind::kInvalid);
  }
}

TEST_CASE("reader: a term cut short anywhere is refused") {
  for (const Buffer& term : sample_terms()) {
    CAPTURE(static_cast<int>(term[0]));
    for (std::size_t length = 0; length < term.size(); ++length) {
      CAPTURE(length);
      const Buffer cut(term.begin(), term.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(!skipped(cut));
      try_everything(ExactCopy(cut).bytes());
    }
  }
}

TEST_CASE("reader: random changes of terms never make it read outside") {
  std::mt19937 random(20'240'229);
  const auto terms = sample_terms();
  for (int round = 0; round < 20'000; ++round) {
    Buffer bytes = terms[random() % terms.size()];
    for (auto changes = random() % 4 + 1; changes > 0; --changes) {
      const auto at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<std::uint8_t>(random());
          break;
        case 1:
          bytes[at] ^= static_cast<std::uint8_t>(1U << random() % 8);
          break;
        case 2:
          bytes[at] = 0xFF;
          break;
        default:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random() % 120));
      }
    }
    const ExactCopy copy(bytes);
    try_everything(copy.bytes());
  }
}

TEST_CASE("reader: counts that the bytes cannot hold are refused before anything is reserved for them") {
  const std::vector<Buffer> hostile = {
      {108, 0xFF, 0xFF, 0xFF, 0xFF, 97, 1, 97, 2, 106},
      {105, 0xFF, 0xFF, 0xFF, 0xFF, 97, 1},
      {104, 0xFF, 97, 1},
      {116, 0x80, 0x00, 0x00, 0x01, 97, 1, 97, 1},
      {109, 0xFF, 0xFF, 0xFF, 0xFF, 1},
      {111, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1},
      {77, 0xFF, 0xFF, 0xFF, 0xFF, 8, 1},
      {107, 0xFF, 0xFF, 1},
      {90, 0xFF, 0xFF, 119, 1, 'a', 0, 0, 0, 0},
      {112, 0xFF, 0xFF, 0xFF, 0xFF, 0},
  };
  for (const Buffer& bytes : hostile) {
    CAPTURE(static_cast<int>(bytes[0]));
    CHECK(!skipped(bytes));
    try_everything(ExactCopy(bytes).bytes());
  }
}

TEST_CASE("reader: a thousand levels are accepted and one more is refused") {
  CHECK(skipped(nested_lists(TermReader::kMaxDepth)));
  CHECK(!skipped(nested_lists(TermReader::kMaxDepth + 1)));
  const Buffer deep = nested_lists(100000);
  TermReader reader(deep);
  CHECK(reader.skip_deep()->size() == deep.size());
  CHECK(reader.remaining() == 0);
  CHECK(!skipped(nested_lists(200'000)));
}

TEST_CASE("reader: compressed terms, old floats, atom cache references and unknown tags are refused") {
  for (int tag : {80, 82, 99, 117, 121, 0, 131, 255}) {
    CAPTURE(tag);
    const Buffer bytes = Buffer{static_cast<std::uint8_t>(tag)} + Buffer(64, 0);
    CHECK(!skipped(bytes));
    CHECK(reader_of(bytes).peek() == TermKind::kInvalid);
  }
}

TEST_CASE("reader: a list cell without elements is refused, an empty list is not") {
  CHECK(!reader_of({108, 0, 0, 0, 0, 106}).read_list_header());
  CHECK(reader_of({106}).read_list_header() == 0U);
}

TEST_CASE("reader: a fun whose size is not that of its parts is refused") {
  for (const Buffer& term : sample_terms()) {
    if (term[0] != 112) continue;
    Buffer wrong = term + Buffer{106};
    wrong[4] = static_cast<std::uint8_t>(wrong[4] + 1);
    CHECK(!skipped(wrong));
  }
}

TEST_CASE("reader: integers of up to 64 bits, and larger ones as magnitude") {
  CHECK(reader_of({97, 200}).read_int64() == 200);
  CHECK(reader_of({98, 0xFF, 0xFF, 0xFF, 0xFE}).read_int64() == -2);
  CHECK(reader_of({98, 0x80, 0, 0, 0}).read_int64() == INT32_MIN);
  CHECK(reader_of({110, 8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}).read_int64() == INT64_MAX);
  CHECK(reader_of({110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0x80}).read_int64() == INT64_MIN);
  CHECK(reader_of({110, 0, 0}).read_int64() == 0);

  const Buffer past = {110, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x80};
  auto reader = reader_of(past);
  CHECK(!reader.read_int64());
  const auto big = reader.read_big();
  REQUIRE(big);
  CHECK(!big->negative);
  CHECK(Buffer(big->magnitude.begin(), big->magnitude.end()) == Buffer{0, 0, 0, 0, 0, 0, 0, 0x80});
  CHECK(reader.at_end());
  CHECK(!reader_of({110, 8, 1, 1, 0, 0, 0, 0, 0, 0, 0x80}).read_int64());
}

TEST_CASE("reader: floats keep every bit and are finite") {
  const auto negative_zero = reader_of({70, 0x80, 0, 0, 0, 0, 0, 0, 0}).read_double();
  REQUIRE(negative_zero);
  CHECK(std::signbit(*negative_zero));
  CHECK(reader_of({70, 0, 0, 0, 0, 0, 0, 0, 1}).read_double() == 5e-324);
  CHECK(!reader_of({70, 0x7F, 0xF0, 0, 0, 0, 0, 0, 0}).read_double());
  CHECK(!reader_of({70, 0x7F, 0xF8, 0, 0, 0, 0, 0, 0}).read_double());
}

TEST_CASE("reader: Latin-1 atoms of OTP 25 become UTF-8 and stay valid while the reader lives") {
  const Buffer bytes = {100, 0, 2, 0xE9, 'a', 115, 1, 0xFC, 119, 2, 0xC3, 0xA9};
  auto reader = reader_of(bytes);
  const auto first = reader.read_atom();
  const auto second = reader.read_name();
  const auto third = reader.read_atom();
  CHECK(first ==
        "\xC3\xA9"
        "a");
  CHECK(second == "\xC3\xBC");
  CHECK(third == "\xC3\xA9");
}

TEST_CASE("reader: atoms longer than 255 characters of UTF-8 can be are refused") {
  const Buffer longest = Buffer{118, 3, 0xFC} + Buffer(1020, 'a');
  CHECK(reader_of(longest).read_atom());
  const Buffer longer = Buffer{118, 3, 0xFD} + Buffer(1021, 'a');
  CHECK(!reader_of(longer).read_atom());
}

TEST_CASE("reader: the visitor of skip sees each atom, also those of nodes and modules") {
  std::vector<std::string> names;
  const auto visit = [&](std::string_view name) { names.emplace_back(name); };
  const Buffer pid = Buffer{88} + atom_bytes("n@h") + Buffer(12, 0);
  const Buffer term = Buffer{104, 3} + pid + Buffer{113} + atom_bytes("lists") + atom_bytes("map") + Buffer{97, 2} +
                      Buffer{100, 0, 1, 0xE9};
  std::size_t heap_bytes = 0;
  CHECK(reader_of(term).skip(visit, heap_bytes));
  CHECK(names == std::vector<std::string>{"n@h", "lists", "map", "\xC3\xA9"});
}
