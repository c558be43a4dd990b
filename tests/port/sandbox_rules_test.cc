// The rules of sandbox => kernel are read whole, and a bad one is named, so that none is taken for less than it says.
#include "sandbox/sandbox_rules.h"

#include <doctest/doctest.h>

#include <string>

#include "etf/term_writer.h"

using namespace erlang_python;

namespace {

template <typename Write>
Result<SandboxRules> read(Write write) {
  TermWriter out;
  write(out);
  TermReader reader(out.bytes());
  return read_sandbox_rules(reader);
}

template <typename Write>
std::string error_of(std::string_view key, Write value) {
  const auto rules = read([&](TermWriter& out) {
    out.map_header(1);
    out.atom(key);
    value(out);
  });
  return rules ? "" : rules.error().message;
}

}  // namespace

TEST_CASE("no rules allow reading and nothing else") {
  const auto rules = read([](TermWriter& out) { out.map_header(0); });
  REQUIRE(rules);
  CHECK(rules->read_all);
  CHECK(rules->write.empty());
  CHECK_FALSE(rules->network);
  CHECK_FALSE(rules->programs);
  CHECK_FALSE(rules->processes);
}

TEST_CASE("rules of every kind") {
  const auto rules = read([](TermWriter& out) {
    out.map_header(5);
    out.atom("read");
    out.list_header(1);
    out.binary("/r");
    out.nil();
    out.atom("write");
    out.list_header(2);
    out.binary("/w");
    out.binary("/v");
    out.nil();
    out.atom("net");
    out.list_header(2);
    out.tuple_header(2);
    out.atom("connect");
    out.integer(443);
    out.tuple_header(2);
    out.atom("bind");
    out.integer(8080);
    out.nil();
    out.atom("exec");
    out.nil();
    out.atom("processes");
    out.integer(4);
  });
  REQUIRE(rules);
  CHECK_FALSE(rules->read_all);
  CHECK(rules->read == std::vector<std::string>{"/r"});
  CHECK(rules->write == std::vector<std::string>{"/w", "/v"});
  CHECK(rules->network);
  CHECK(rules->connect == std::vector<std::uint16_t>{443});
  CHECK(rules->bind == std::vector<std::uint16_t>{8080});
  CHECK(rules->programs);
  CHECK(rules->exec.empty());
  CHECK(rules->processes == 4);
}

TEST_CASE("a bad rule is named") {
  const auto list_with = [](auto element) {
    return [element](TermWriter& out) {
      out.list_header(1);
      element(out);
      out.nil();
    };
  };
  CHECK(error_of("write", [](TermWriter& out) { out.atom("all"); }) ==
        "configuration: bad value of sandbox_rules, write");
  CHECK(error_of("read", list_with([](TermWriter& out) { out.binary("relative"); })) ==
        "configuration: bad value of sandbox_rules, read");
  CHECK(error_of("exec", list_with([](TermWriter& out) { out.binary(std::string_view("/a\0b", 4)); })) ==
        "configuration: bad value of sandbox_rules, exec");
  CHECK(error_of("net", list_with([](TermWriter& out) {
                   out.tuple_header(2);
                   out.atom("connect");
                   out.integer(65536);
                 })) == "configuration: bad value of sandbox_rules, net");
  CHECK(error_of("processes", [](TermWriter& out) { out.integer(-1); }) ==
        "configuration: bad value of sandbox_rules, processes");
  CHECK(error_of("colour", [](TermWriter& out) { out.atom("red"); }) ==
        "configuration: unknown key colour in sandbox_rules");
}
