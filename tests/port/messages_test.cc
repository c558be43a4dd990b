// The header of every operation is read as docs/protocol.md has it; everything else is refused, with the alias if it
// can be read, so that the caller is told.
#include "protocol/messages.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace erlang_python;

namespace {

// NEWER_REFERENCE_EXT of nonode@nohost with three words.
const std::vector<std::uint8_t> kAlias = [] {
  std::vector<std::uint8_t> bytes = {90, 0, 3, 119, 13};
  for (char c : std::string("nonode@nohost")) bytes.push_back(static_cast<std::uint8_t>(c));
  bytes.insert(bytes.end(), {0, 0, 0, 0});
  for (std::uint8_t i = 0; i < 12; ++i) bytes.push_back(i);
  return bytes;
}();

// NEW_PID_EXT.
const std::vector<std::uint8_t> kPid = [] {
  std::vector<std::uint8_t> bytes = {88, 119, 13};
  for (char c : std::string("nonode@nohost")) bytes.push_back(static_cast<std::uint8_t>(c));
  bytes.insert(bytes.end(), {0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0});
  return bytes;
}();

void request_header(TermWriter& out, Operation operation, std::size_t arity) {
  out.version();
  out.tuple_header(arity);
  out.integer(static_cast<int>(operation));
  out.integer(7);
  out.raw(kAlias);
  out.integer(3);
  out.integer(30'000);
  out.integer(123'456'789'012);
  out.integer(5);
  out.integer(std::int64_t{1} << 62);
  out.raw(kPid);
}

TermWriter call_frame() {
  TermWriter out;
  request_header(out, Operation::kCall, 13);
  out.atom("math");
  out.atom("sqrt");
  out.nil();
  out.map_header(0);
  return out;
}

const Message* as_message(const std::variant<Message, Malformed>& parsed) { return std::get_if<Message>(&parsed); }
const Malformed* as_malformed(const std::variant<Message, Malformed>& parsed) {
  return std::get_if<Malformed>(&parsed);
}

bool same_bytes(Bytes a, const std::vector<std::uint8_t>& b) {
  return std::vector<std::uint8_t>(a.begin(), a.end()) == b;
}

}  // namespace

TEST_CASE("a request's header fields and the position of its body") {
  const TermWriter out = call_frame();
  const auto parsed = parse_message(out.bytes());
  const Message* message = as_message(parsed);
  REQUIRE(message != nullptr);
  CHECK(message->operation == Operation::kCall);
  CHECK(message->context == 7);
  CHECK(same_bytes(message->alias, kAlias));
  CHECK(message->slot == 3);
  CHECK(message->timeout_ms == 30'000);
  CHECK(message->env == 123'456'789'012);
  CHECK(message->flags == (kTraceback | kBuffer));
  CHECK(message->chain == std::uint64_t{1} << 62);
  CHECK(same_bytes(message->caller, kPid));
  TermReader body(out.bytes());
  body.rewind(message->body);
  CHECK(body.read_name() == "math");
}

TEST_CASE("a result's context and callback, and the position of its outcome") {
  TermWriter out;
  out.version();
  out.tuple_header(4);
  out.integer(static_cast<int>(Operation::kResult));
  out.integer(7);
  out.integer(123'456'789'012);
  out.atom("unregistered");
  const auto parsed = parse_message(out.bytes());
  const Message* message = as_message(parsed);
  REQUIRE(message != nullptr);
  CHECK(message->operation == Operation::kResult);
  CHECK(message->context == 7);
  CHECK(message->callback == 123'456'789'012);
  CHECK(message->alias.empty());
  TermReader body(out.bytes());
  body.rewind(message->body);
  CHECK(body.read_atom() == "unregistered");
}

TEST_CASE("a request cut off anywhere is refused or keeps its body out of reach") {
  const TermWriter out = call_frame();
  for (std::size_t size = 0; size < out.size(); ++size) {
    const auto parsed = parse_message(out.bytes().first(size));
    if (const Message* message = as_message(parsed)) CHECK(message->body <= size);
  }
}

TEST_CASE("every single-byte corruption is survived") {
  const TermWriter out = call_frame();
  std::vector<std::uint8_t> bytes(out.bytes().begin(), out.bytes().end());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      auto corrupt = bytes;
      corrupt[i] = static_cast<std::uint8_t>(value);
      const auto parsed = parse_message(corrupt);
      if (const Message* message = as_message(parsed)) CHECK(message->body <= corrupt.size());
    }
  }
}

TEST_CASE("a request with bad fields after the alias names its caller") {
  TermWriter out;
  out.version();
  out.tuple_header(13);
  out.integer(static_cast<int>(Operation::kCall));
  out.integer(7);
  out.raw(kAlias);
  out.integer(3);
  out.atom("infinity");
  const auto parsed = parse_message(out.bytes());
  const Malformed* malformed = as_malformed(parsed);
  REQUIRE(malformed != nullptr);
  CHECK(same_bytes(malformed->alias, kAlias));
  CHECK(malformed->slot == 3);
  CHECK(malformed->reason == "timeout is not a non-negative integer");
}

TEST_CASE("unknown operations, wrong arities, negative and too large numbers are refused") {
  const auto reason_of = [](auto write) {
    TermWriter out;
    write(out);
    const auto parsed = parse_message(out.bytes());
    const Malformed* malformed = as_malformed(parsed);
    return malformed != nullptr ? malformed->reason : std::string("accepted");
  };
  CHECK(reason_of([](TermWriter&) {}) == "frame without the version byte 131");
  CHECK(reason_of([](TermWriter& out) {
          out.version();
          out.atom("hello");
        }) == "frame is not a tuple");
  CHECK(reason_of([](TermWriter& out) {
          out.version();
          out.tuple_header(2);
          out.integer(99);
          out.raw(kAlias);
        }) == "unknown operation");
  CHECK(reason_of([](TermWriter& out) { request_header(out, Operation::kCall, 10); }) ==
        "wrong number of elements for the operation");
  CHECK(reason_of([](TermWriter& out) {
          out.version();
          out.tuple_header(3);
          out.integer(static_cast<int>(Operation::kInterrupt));
          out.raw(kAlias);
          out.integer(-1);
        }) == "context is not a positive integer");
  CHECK(reason_of([](TermWriter& out) {
          out.version();
          out.tuple_header(3);
          out.integer(static_cast<int>(Operation::kInterrupt));
          out.raw(kAlias);
          out.integer(std::int64_t{1} << 40);
        }) == "context is not a positive integer");
}

TEST_CASE("a reply is a length, a header and a payload") {
  TermWriter out;
  begin_reply(out, kAlias, 9);
  write_ok_atom(out, "not_running");
  finish_frame(out);
  CHECK(read_be32(out.data()) == out.size() - kLengthBytes);
  TermReader reader(out.bytes().subspan(kLengthBytes));
  REQUIRE(reader.read_version());
  CHECK(reader.read_tuple_header() == std::size_t{3});
  CHECK(reader.read_int64() == 1);
  CHECK(same_bytes(*reader.skip(), kAlias));
  CHECK(reader.read_int64() == 9);
  REQUIRE(reader.read_version());
  CHECK(reader.read_tuple_header() == std::size_t{2});
  CHECK(reader.read_atom() == "ok");
  CHECK(reader.read_atom() == "not_running");
  CHECK(reader.at_end());
}
