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
    out.map_header(9);
    out.atom("none_as");
    out.atom("nil");
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
    out.atom("max_callbacks");
    out.integer(7);
    out.atom("max_term_bytes");
    out.integer(1 << 20);
    out.atom("sandbox");
    out.integer(2);
  });
  REQUIRE(config);
  CHECK(config->max_callbacks == 7);
  CHECK(config->term_limits(10).heap_bytes == 1 << 20);
  CHECK(config->term_limits(10).bytes == config->max_value_bytes + 10);
  CHECK(config->none_as == "nil");
  CHECK(config->pool == "ml");
  CHECK(config->venv.empty());
  CHECK(config->paths == std::vector<std::string>{"/a", "/b"});
  CHECK(config->imports.empty());
  CHECK(config->memory_limit == std::size_t{8} << 30);
  CHECK(config->sandbox == SandboxLevel::kStrict);
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
    out.integer(4);
  });
  REQUIRE_FALSE(sandbox);
  CHECK(sandbox.error().message == "configuration: bad value of sandbox");
}
