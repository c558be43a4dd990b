// Terms become the Python values of docs/types.md, whatever the bytes are, and what Python cannot hold is an error that
// names it.
#include <random>

#include "etf/received_segments.h"
#include "etf_python.h"

using namespace erlang_python;

namespace {

Buffer map_of(std::initializer_list<Buffer> keys_and_values) {
  Buffer bytes = {116, 0, 0, 0, static_cast<std::uint8_t>(keys_and_values.size() / 2)};
  for (const Buffer& term : keys_and_values) bytes = std::move(bytes) + term;
  return bytes;
}

Buffer binary_of(std::string_view text) {
  return Buffer{109, 0, 0, 0, static_cast<std::uint8_t>(text.size())} + text_bytes(text);
}

/// Decodes, encodes again, and expects the same bytes.
bool comes_back(const Buffer& bytes) {
  auto& python = TestPython::get();
  TermReader reader{Bytes(bytes)};
  auto value = decode_term(reader, python.types());
  REQUIRE(value);
  return encode(value).bytes == bytes;
}

}  // namespace

TEST_CASE("decode: atoms") {
  CHECK(decoded_repr(atom_bytes("true")) == "True");
  CHECK(decoded_repr(atom_bytes("false")) == "False");
  for (const char* name : {"none", "nil", "undefined"}) CHECK(decoded_repr(atom_bytes(name)) == "None");
  CHECK(decoded_repr(atom_bytes("ok")) == "'ok'");
  CHECK(decoded_repr(atom_bytes("")) == "''");
  CHECK(decoded_repr(atom_bytes("\xE2\x82\xAC")) == "'€'");
  CHECK(decoded_repr({100, 0, 1, 0xE9}) == "'é'");
  CHECK(decoded_repr({100, 0, 2, 'o', 'k'}) == "'ok'");
  CHECK(decoded_repr(atom_bytes("\xFF")).starts_with("UnicodeDecodeError"));
}

TEST_CASE("decode: integers of any size") {
  CHECK(decoded_repr({97, 255}) == "255");
  CHECK(decoded_repr({98, 0x80, 0, 0, 0}) == "-2147483648");
  CHECK(decoded_repr({110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0x80}) == "-9223372036854775808");
  CHECK(decoded_repr({110, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}) == "9223372036854775808");
  CHECK(decoded_repr({110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1}) == "-18446744073709551616");
}

TEST_CASE("decode: binaries are text when they are UTF-8, and bytes when they are not or are asked for") {
  CHECK(decoded_repr(binary_of("abc")) == "'abc'");
  CHECK(decoded_repr(binary_of("")) == "''");
  CHECK(decoded_repr(binary_of("h\xC3\xA9")) == "'hé'");
  CHECK(decoded_repr(binary_of("\xFF")) == "b'\\xff'");
  CHECK(decoded_repr(binary_of("\xED\xA0\x80")) == "b'\\xed\\xa0\\x80'");           // a surrogate
  CHECK(decoded_repr(binary_of("\xC0\x80")) == "b'\\xc0\\x80'");                    // overlong
  CHECK(decoded_repr(binary_of("abc\xE2\x82")) == "b'abc\\xe2\\x82'");              // cut short
  CHECK(decoded_repr(binary_of("\xF4\x90\x80\x80")) == "b'\\xf4\\x90\\x80\\x80'");  // past U+10FFFF
  CHECK(decoded_repr(Buffer{104, 2} + atom_bytes("bytes") + binary_of("abc")) == "b'abc'");
  CHECK(decoded_repr(Buffer{104, 2} + atom_bytes("bytes") + Buffer{97, 1}) == "('bytes', 1)");
  CHECK(decoded_repr(Buffer{104, 2} + atom_bytes("other") + binary_of("abc")) == "('other', 'abc')");
}

TEST_CASE("decode: the check for UTF-8 agrees with Python's codec wherever that draws a line") {
  auto& python = TestPython::get();
  python.exec("def is_text(raw):\n try:\n  raw.decode()\n  return True\n except UnicodeDecodeError:\n  return False\n");
  auto is_text = python.eval("is_text");
  const std::uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
                                0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFE, 0xFF};
  for (auto a : edges) {
    for (auto b : edges) {
      for (auto c : edges) {
        for (auto d : {std::uint8_t{0x41}, std::uint8_t{0x80}, std::uint8_t{0xBF}, std::uint8_t{0xC2}}) {
          const Buffer raw = {a, b, c, d};
          auto answer = PyRef::steal(PyObject_CallFunction(is_text.get(), "y#", raw.data(), Py_ssize_t{4}));
          const bool text = decoded_repr(Buffer{109, 0, 0, 0, 4} + raw).front() == '\'' ||
                            decoded_repr(Buffer{109, 0, 0, 0, 4} + raw).front() == '"';
          CAPTURE(int{a});
          CAPTURE(int{b});
          CAPTURE(int{c});
          CAPTURE(int{d});
          REQUIRE(text == (answer.get() == Py_True));
        }
      }
    }
  }
}

TEST_CASE("decode: lists, strings, tuples and maps") {
  CHECK(decoded_repr({106}) == "[]");
  CHECK(decoded_repr({107, 0, 3, 'a', 'b', 255}) == "[97, 98, 255]");
  CHECK(decoded_repr({108, 0, 0, 0, 2, 97, 1, 107, 0, 1, 2, 106}) == "[1, [2]]");
  CHECK(decoded_repr({104, 0}) == "()");
  CHECK(decoded_repr(Buffer{104, 2, 97, 1} + map_of({})) == "(1, {})");
  CHECK(decoded_repr(map_of({atom_bytes("a"), {97, 1}, binary_of("b"), {106}})) == "{'a': 1, 'b': []}");
}

TEST_CASE("decode: text that comes again is right each time") {
  Buffer list = {108, 0, 0, 1, 44};  // 300 maps with keys that fall into the same few cache slots
  std::string expected = "[";
  for (int i = 0; i < 300; ++i) {
    const std::string name = "k" + std::to_string(i % 70);
    list = std::move(list) + map_of({binary_of(name), atom_bytes(name)});
    expected.append(i == 0 ? "{'" : ", {'").append(name).append("': '").append(name).append("'}");
  }
  CHECK(decoded_repr(list + Buffer{106}) == expected + "]");
}

TEST_CASE("decode: pids, references and opaque terms come back byte for byte") {
  for (const Buffer& term : sample_terms()) {
    TermReader reader{Bytes(term)};
    const TermKind kind = reader.peek();
    if (kind != TermKind::kPid && kind != TermKind::kReference && kind != TermKind::kOpaque) continue;
    CHECK(comes_back(term));
    CHECK(comes_back(Buffer{104, 2, 97, 1} + term));
  }
}

TEST_CASE("decode: an improper list is opaque, whatever it holds, and what is around it is not") {
  const Buffer improper = Buffer{108, 0, 0, 0, 1, 97, 1} + atom_bytes("tail");
  CHECK(decoded_repr(improper) == "Term<improper list, 13 bytes>");
  CHECK(decoded_repr(Buffer{104, 2} + improper + Buffer{97, 7}) == "(Term<improper list, 13 bytes>, 7)");
  CHECK(comes_back(Buffer{104, 2} + improper + Buffer{97, 7}));
  const Buffer unhashable = map_of({{106}, {97, 1}});
  const Buffer around = Buffer{108, 0, 0, 0, 2} + unhashable + Buffer{97, 5} + atom_bytes("tail");
  CHECK(comes_back(around));
  CHECK(comes_back(Buffer{104, 3} + around + around + Buffer{97, 1}));
  // A proper list around the same map still is an error.
  CHECK(decoded_repr(Buffer{108, 0, 0, 0, 1} + unhashable + Buffer{106}) == "ConversionError: ('map_key', '[]')");
}

TEST_CASE("decode: keys that Python cannot hold are errors that name them") {
  const auto error_of = [](const Buffer& bytes) {
    const std::string text = decoded_repr(bytes);
    return text.substr(text.find('(') == std::string::npos ? 0 : text.find('('));
  };
  CHECK(error_of(map_of({{107, 0, 1, 1}, {97, 1}})) == "('map_key', '[1]')");
  CHECK(error_of(map_of({map_of({}), {97, 1}})) == "('map_key', '{}')");
  CHECK(error_of(map_of({Buffer{104, 1, 106}, {97, 1}})) == "('map_key', '([],)')");
  CHECK(error_of(map_of({{97, 1}, {97, 1}, {70, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0}, {97, 2}})) ==
        "('duplicate_key', '1.0')");
  CHECK(error_of(map_of({atom_bytes("a"), {97, 1}, binary_of("a"), {97, 2}})) == "('duplicate_key', \"'a'\")");
  CHECK(error_of(map_of({{97, 1}, {97, 1}, atom_bytes("true"), {97, 2}})) == "('duplicate_key', 'True')");
  CHECK(error_of(map_of({atom_bytes("nil"), {97, 1}, atom_bytes("none"), {97, 2}})) == "('duplicate_key', 'None')");
  const std::string long_key = error_of(map_of({Buffer{107, 1, 0} + Buffer(256, 200), {97, 1}}));
  CHECK(long_key.size() < 300);
  CHECK(long_key.ends_with("...')"));
}

TEST_CASE("decode: what is opaque is as deep as the terms around it and in it") {
  // Tuples around an improper list whose tail is nested.
  const auto deep = [](std::size_t around, std::size_t within) {
    Buffer bytes;
    for (std::size_t i = 0; i < around; ++i) bytes = std::move(bytes) + Buffer{104, 1};
    bytes = std::move(bytes) + Buffer{108, 0, 0, 0, 1, 97, 1};
    for (std::size_t i = 0; i < within; ++i) bytes = std::move(bytes) + Buffer{104, 1};
    return std::move(bytes) + Buffer{97, 7};
  };
  for (const std::size_t around : {0, 1, 500, 999}) {
    const Buffer last = deep(around, 999 - around);
    CHECK(decoded_repr(last).find("improper list") != std::string::npos);
    TermReader skipper{Bytes(last)};
    CHECK(skipper.skip().has_value());
    CHECK(decoded_repr(deep(around, 1000 - around)).find("improper list") == std::string::npos);
  }
}

TEST_CASE("decode: a thousand levels arrive, one more is the error depth") {
  CHECK(decoded_repr(nested_lists(1000)).size() > 2000);
  CHECK(decoded_repr(nested_lists(1001)).ends_with("ConversionError: 'depth'"));
  CHECK(decoded_repr(nested_lists(100'000)).ends_with("ConversionError: 'depth'"));
}

TEST_CASE("decode: terms cut short and hostile counts are ValueErrors") {
  for (const Buffer& term : sample_terms()) {
    for (std::size_t length = 0; length < term.size(); ++length) {
      const Buffer cut(term.begin(), term.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(decoded_repr(cut).starts_with("ValueError: malformed external term at byte "));
    }
  }
  CHECK(decoded_repr({108, 0xFF, 0xFF, 0xFF, 0xFF, 97, 1, 97, 2, 106}).starts_with("ValueError"));
  CHECK(decoded_repr({105, 0xFF, 0xFF, 0xFF, 0xFF, 97, 1}).starts_with("ValueError"));
  CHECK(decoded_repr({116, 0xFF, 0xFF, 0xFF, 0xFF, 97, 1}).starts_with("ValueError"));
  CHECK(decoded_repr({80, 0, 0, 0, 1, 0x78, 0x9C, 0x63}).starts_with("ValueError"));
}

TEST_CASE("decode: whatever random changes make of terms, the answer is a value that can be encoded, or an error") {
  auto& python = TestPython::get();
  std::mt19937 random(42);
  const auto terms = sample_terms();
  for (int round = 0; round < 20'000; ++round) {
    Buffer bytes = Buffer{104, 2} + terms[random() % terms.size()] + terms[random() % terms.size()];
    for (auto changes = random() % 3 + 1; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random() % 2 == 0 ? random() : random() % 120);
    }
    const ExactCopy copy{Bytes(bytes)};
    TermReader reader(copy.bytes());
    auto value = decode_term(reader, python.types());
    CHECK((value.get() == nullptr) == (PyErr_Occurred() != nullptr));
    if (!value) {
      PyErr_Clear();
      continue;
    }
    const auto encoded = encode(value);
    if (!encoded.error.empty()) continue;
    TermReader again{Bytes(encoded.bytes)};
    CHECK(again.skip());
    CHECK(again.at_end());
  }
}

namespace {

struct NoLender final : SegmentLender {
  void give_back(std::span<const std::uint64_t>) override {}
};

}  // namespace

TEST_CASE("decode: a large binary without room in the address space is a MemoryError, also where bytes are asked for") {
  const Buffer key = {90, 0, 1, 119, 1, 'n', 0, 0, 0, 1, 0, 0, 0, 2};
  const Buffer stands_for = Buffer{108, 0, 0, 0, 1} + key + Buffer{97, 0};
  NoLender lender;
  for (const Buffer& bytes : {stands_for, Buffer{104, 2} + atom_bytes("bytes") + stands_for}) {
    auto unmapped = std::make_shared<ReceivedSegment>(lender, 0, Bytes{}, nullptr);
    ReceivedSegments segments{Bytes(key), {std::move(unmapped)}};
    TermReader reader(Bytes(bytes), &segments);
    CHECK_FALSE(decode_term(reader, TestPython::get().types()));
    CHECK(TestPython::get().take_error().starts_with("MemoryError"));
  }
}
