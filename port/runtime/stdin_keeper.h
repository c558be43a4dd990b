#pragma once

namespace erlang_python {

/// Starts a tiny process that holds the read end of fd 0 until a moment after this process has died.
///
/// Without it the BEAM's next write finds a pipe without a reader: it closes the port for EPIPE and never learns the
/// exit status, so under load nobody could say what a port process died of. The keeper never reads, holds nothing else,
/// is no child of this process and not in its process group. To be called first, while there is one thread. A failure
/// to start it costs only that.
void keep_stdin_past_death();

}  // namespace erlang_python
