#include "sandbox/sandbox_rules.h"

#include <limits>
#include <string_view>

namespace erlang_python {
namespace {

Error bad(std::string_view key) { return Error{"configuration: bad value of sandbox_rules, " + std::string(key)}; }

Status read_paths(TermReader& reader, std::string_view key, std::vector<std::string>& out) {
  const auto count = reader.read_list_header();
  if (!count) return bad(key);
  for (std::size_t i = 0; i < *count; ++i) {
    const auto bytes = reader.read_binary();
    // The kernel would take what stands before a zero byte for the whole path.
    if (!bytes || bytes->empty() || bytes->front() != '/') return bad(key);
    std::string path(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    if (path.find('\0') != std::string::npos) return bad(key);
    out.push_back(std::move(path));
  }
  if (*count > 0 && !reader.read_nil()) return bad(key);
  return {};
}

/// True when the next term is this atom, which is then consumed.
bool take_atom(TermReader& reader, std::string_view atom) {
  if (reader.peek() != TermKind::kAtom) return false;
  const std::size_t before = reader.position();
  if (reader.read_atom() == atom) return true;
  reader.rewind(before);
  return false;
}

Status read_ports(TermReader& reader, SandboxRules& rules) {
  const auto count = reader.read_list_header();
  if (!count) return bad("net");
  for (std::size_t i = 0; i < *count; ++i) {
    if (reader.read_tuple_header() != std::size_t{2}) return bad("net");
    const bool connect = take_atom(reader, "connect");
    if (!connect && !take_atom(reader, "bind")) return bad("net");
    const auto port = reader.read_int64();
    if (!port || *port < 0 || *port > std::numeric_limits<std::uint16_t>::max()) return bad("net");
    (connect ? rules.connect : rules.bind).push_back(static_cast<std::uint16_t>(*port));
  }
  if (*count > 0 && !reader.read_nil()) return bad("net");
  rules.network = true;
  return {};
}

Status read_rule(TermReader& reader, std::string_view key, SandboxRules& rules) {
  if (key == "read") {
    rules.read_all = take_atom(reader, "all");
    return rules.read_all ? Status() : read_paths(reader, key, rules.read);
  }
  if (key == "write") return read_paths(reader, key, rules.write);
  if (key == "net") return take_atom(reader, "none") ? Status() : read_ports(reader, rules);
  if (key == "exec") {
    rules.programs = !take_atom(reader, "none");
    return rules.programs ? read_paths(reader, key, rules.exec) : Status();
  }
  if (key == "processes") {
    if (take_atom(reader, "infinity")) return {};
    const auto count = reader.read_int64();
    if (!count || *count < 0) return bad(key);
    rules.processes = *count;
    return {};
  }
  return Error{"configuration: unknown key " + std::string(key) + " in sandbox_rules"};
}

}  // namespace

Result<SandboxRules> read_sandbox_rules(TermReader& reader) {
  SandboxRules rules;
  const auto pairs = reader.read_map_header();
  if (!pairs) return Error{"configuration: sandbox_rules is not a map"};
  for (std::size_t i = 0; i < *pairs; ++i) {
    const auto key = reader.read_atom();
    if (!key) return Error{"configuration: a key of sandbox_rules is not an atom"};
    if (Status status = read_rule(reader, *key, rules); !status) return status.error();
  }
  return rules;
}

}  // namespace erlang_python
