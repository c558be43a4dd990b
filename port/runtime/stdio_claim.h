#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace erlang_python {

/// The descriptors that speak to Erlang, out of reach of everything that writes to 0, 1 and 2.
struct ClaimedStdio {
  UniqueFd requests;        ///< was fd 0; non-blocking
  UniqueFd replies;         ///< was fd 1; non-blocking
  UniqueFd captured_out;    ///< read end of the pipe that is fd 1 now; non-blocking
  UniqueFd captured_error;  ///< read end of the pipe that is fd 2 now; non-blocking
  /// Write ends of both, so that the pipes never end although Python closes or replaces fd 1 or 2.
  UniqueFd kept_out;
  UniqueFd kept_error;
};

/// Moves fd 0 and 1 to high numbers with CLOEXEC, puts /dev/null on 0 and capture pipes on 1 and 2. Before anything
/// else runs: a stray byte on the protocol is read by the BEAM as a length.
Result<ClaimedStdio> claim_stdio();

}  // namespace erlang_python
