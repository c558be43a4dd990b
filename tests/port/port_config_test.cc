// The configuration that Erlang sends is read whole, and a bad entry is named.
#include "protocol/port_config.h"

#include <doctest/doctest.h>

#include <string>

#include "etf/term_writer.h"

using namespace erlang_python;

namespace {

template <typename Write>
Result<PortConfig> read(Write write) {
  TermWriter out;
  write(out);
  TermReader reader(out.bytes());
  return read_port_config(reader);
}

}  // namespace

TEST_CASE("values of every type") {
  const auto config = read([](TermWriter& out) {
    out.map_header(6);
    out.atom("pool");
    out.binary("ml");
    out.atom("venv");
    out.atom("none");
    out.atom("paths");
    out.list_header(2);
    out.binary("/a");
    out.binary("/b");
    out.nil();
    out.atom("imports");
    out.nil();
    out.atom("memory_limit");
    out.integer(std::int64_t{8} << 30);
    out.atom("sandbox");
    out.integer(2);
  });
  REQUIRE(config);
  CHECK(config->pool == "ml");
  CHECK(config->venv.empty());
  CHECK(config->paths == std::vector<std::string>{"/a", "/b"});
  CHECK(config->imports.empty());
  CHECK(config->memory_limit == std::size_t{8} << 30);
  CHECK(config->sandbox == Sandbox::kStrict);
}

TEST_CASE("a bad entry is named") {
  const auto bad_value = read([](TermWriter& out) {
    out.map_header(1);
    out.atom("memory_limit");
    out.integer(-1);
  });
  REQUIRE_FALSE(bad_value);
  CHECK(bad_value.error().message == "configuration: bad value of memory_limit");
  const auto unknown = read([](TermWriter& out) {
    out.map_header(1);
    out.atom("colour");
    out.integer(1);
  });
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message == "configuration: unknown key colour");
  const auto sandbox = read([](TermWriter& out) {
    out.map_header(1);
    out.atom("sandbox");
    out.integer(3);
  });
  REQUIRE_FALSE(sandbox);
  CHECK(sandbox.error().message == "configuration: bad value of sandbox");
}
