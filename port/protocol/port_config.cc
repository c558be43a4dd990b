#include "protocol/port_config.h"

namespace erlang_python {
namespace {

Error bad(std::string_view key) { return Error{"configuration: bad value of " + std::string(key)}; }

Result<std::string> read_text(TermReader& reader, std::string_view key) {
  if (reader.peek() == TermKind::kAtom) {
    if (reader.read_atom() == "none") return std::string();
    return bad(key);
  }
  const auto bytes = reader.read_binary();
  if (!bytes) return bad(key);
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

Result<std::int64_t> read_count(TermReader& reader, std::string_view key) {
  const auto value = reader.read_int64();
  if (!value || *value < 0) return bad(key);
  return *value;
}

template <typename T, typename U>
Status store(Result<T> value, U& out) {
  if (!value) return value.error();
  out = static_cast<U>(*value);
  return {};
}

Status read_entry(TermReader& reader, std::string_view key, PortConfig& config) {
  if (key == "pool") return store(read_text(reader, key), config.pool);
  if (key == "package_path") return store(read_text(reader, key), config.package_path);
  if (key == "python") return store(read_text(reader, key), config.python);
  if (key == "venv") return store(read_text(reader, key), config.venv);
  if (key == "paths") return store(read_texts(reader, key), config.paths);
  if (key == "imports") return store(read_texts(reader, key), config.imports);
  if (key == "preload") return store(read_texts(reader, key), config.preload);
  if (key == "functions") return store(read_texts(reader, key), config.functions);
  if (key == "memory_limit") return store(read_count(reader, key), config.memory_limit);
  if (key == "hard_timeout_grace") return store(read_count(reader, key), config.hard_timeout_grace_ms);
  if (key == "shutdown_grace") return store(read_count(reader, key), config.shutdown_grace_ms);
  if (key == "max_value_bytes") return store(read_count(reader, key), config.max_value_bytes);
  if (key == "max_term_bytes") return store(read_count(reader, key), config.max_term_bytes);
  if (key == "max_integer_bytes") return store(read_count(reader, key), config.max_integer_bytes);
  if (key == "max_callbacks") return store(read_count(reader, key), config.max_callbacks);
  if (key == "none_as") {
    const auto atom = reader.read_atom();
    if (!atom) return bad(key);
    config.none_as = *atom;
    return {};
  }
  if (key == "shared_memory") return store(read_count(reader, key), config.shared_memory);
  if (key == "nice") return store(read_count(reader, key), config.nice);
  if (key == "sandbox") {
    const auto level = reader.read_int64();
    if (!level || *level < 0 || *level > 3) return bad(key);
    config.sandbox = static_cast<SandboxLevel>(*level);
    return {};
  }
  if (key == "sandbox_rules") {
    auto rules = read_sandbox_rules(reader);
    if (!rules) return rules.error();
    config.sandbox_rules = std::move(*rules);
    return {};
  }
  return Error{"configuration: unknown key " + std::string(key)};
}

}  // namespace

Result<std::vector<std::string>> read_texts(TermReader& reader, std::string_view what) {
  std::vector<std::string> texts;
  const auto count = reader.read_list_header();
  if (!count) return bad(what);
  for (std::size_t i = 0; i < *count; ++i) {
    const auto bytes = reader.read_binary();
    if (!bytes) return bad(what);
    texts.emplace_back(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
  if (*count > 0 && !reader.read_nil()) return bad(what);
  return texts;
}

Result<PortConfig> read_port_config(TermReader& reader) {
  PortConfig config;
  const auto pairs = reader.read_map_header();
  if (!pairs) return Error{"configuration is not a map"};
  for (std::size_t i = 0; i < *pairs; ++i) {
    const auto key = reader.read_atom();
    if (!key) return Error{"configuration: a key is not an atom"};
    if (Status status = read_entry(reader, *key, config); !status) return status.error();
  }
  return config;
}

}  // namespace erlang_python
