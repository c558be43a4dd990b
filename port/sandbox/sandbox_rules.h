#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "etf/term_reader.h"

namespace erlang_python {

/// The pool option sandbox, on the wire by number.
enum class SandboxLevel { kOff = 0, kDefault = 1, kStrict = 2, kKernel = 3 };

/// What `sandbox => kernel` allows. As it stands here: read everything, write nothing, no network, no programs.
struct SandboxRules {
  bool read_all = true;
  std::vector<std::string> read;   ///< when not everything: these and what Python itself needs
  std::vector<std::string> write;  ///< files and directories that may be read and written
  bool network = false;            ///< TCP with the ports below; false: no sockets but pairs
  std::vector<std::uint16_t> connect;
  std::vector<std::uint16_t> bind;
  bool programs = false;          ///< whether processes may be started at all
  std::vector<std::string> exec;  ///< the programs, or directories of programs
  /// How many processes and threads more than there are when the restrictions begin; nullopt for any number.
  std::optional<std::int64_t> processes;
};

/// Reads the map `sandbox_rules` of the configuration (docs/protocol.md) at the reader's position.
Result<SandboxRules> read_sandbox_rules(TermReader& reader);

}  // namespace erlang_python
