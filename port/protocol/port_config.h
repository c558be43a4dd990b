#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "etf/term_reader.h"

namespace erlang_python {

enum class Sandbox { kOff = 0, kDefault = 1, kStrict = 2 };

/// What Erlang asks of the port program as a whole: the map of the INIT frame (docs/protocol.md). Constant after start.
struct PortConfig {
  std::string pool;
  std::string package_path;
  std::string python;  ///< empty: the interpreter that the port was built with
  std::string venv;    ///< empty: none
  std::vector<std::string> paths;
  std::vector<std::string> imports;
  std::vector<std::string> preload;
  std::vector<std::string> functions;      ///< names of the registered Erlang functions; FUNCTIONS replaces them
  std::size_t memory_limit = 0;            ///< resident bytes, 0 for none
  std::int64_t hard_timeout_grace_ms = 0;  ///< 0 for never
  std::size_t max_value_bytes = 64 * 1024 * 1024;
  Sandbox sandbox = Sandbox::kDefault;
  int nice = 0;
};

/// Reads the map at the reader's position. Unknown keys are an error: Erlang and the port program are built together.
Result<PortConfig> read_port_config(TermReader& reader);

/// Reads a list of binaries; `what` names it in the error.
Result<std::vector<std::string>> read_texts(TermReader& reader, std::string_view what);

}  // namespace erlang_python
