#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "etf/term_reader.h"
#include "etf/term_writer.h"
#include "sandbox/sandbox_rules.h"

namespace erlang_python {

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
  std::int64_t shutdown_grace_ms = 5000;   ///< what the end of Python may take
  std::size_t max_value_bytes = 64 * 1024 * 1024;
  std::size_t max_term_bytes = 512 * 1024 * 1024;   ///< of a decoded value, on Erlang's heap
  std::size_t max_integer_bytes = 4 * 1024 * 1024;  ///< larger integers a BEAM does not take
  std::size_t shared_memory = 0;                    ///< bytes of it that may be idle, 0: there is none
  std::size_t max_callbacks = 0;                    ///< that run at once, 0 for no limit
  SandboxLevel sandbox = SandboxLevel::kDefault;
  SandboxRules sandbox_rules;  ///< of SandboxLevel::kKernel
  int nice = 0;
  std::string none_as = "none";  ///< the atom for None, where a request does not say

  /// Of what Python gives to Erlang, with room for the header of a frame.
  TermLimits term_limits(std::size_t header_room) const {
    return {.bytes = max_value_bytes + header_room, .heap_bytes = max_term_bytes, .integer_bytes = max_integer_bytes};
  }
};

/// Reads the map at the reader's position. Unknown keys are an error: Erlang and the port program are built together.
Result<PortConfig> read_port_config(TermReader& reader);

/// Reads a list of binaries; `what` names it in the error.
Result<std::vector<std::string>> read_texts(TermReader& reader, std::string_view what);

}  // namespace erlang_python
