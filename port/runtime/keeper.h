#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "runtime/process_tree.h"

namespace erlang_python {

/// Puts two keepers between Erlang and Python: the calling process becomes the outer one, its child the inner one, and
/// the function returns in a child of that, which becomes the Python process, the leader of a process group of its own.
/// To be called first, while there is one thread. An error comes back in a process that has to say why and leave.
///
/// The inner keeper is the parent that Python sees. It adopts every orphan, waits for the Python process, kills every
/// descendant that is left, and exits with the status of the Python process, as a shell would give it. The outer keeper
/// does the same for the inner one, so what Python does to its parent ends the pool and nothing else: if the inner
/// keeper is killed, the outer one adopts and kills all that is left; if it is stopped, the outer one continues it. If
/// the outer keeper is killed, the inner one kills all that is left; if it is stopped, the inner one continues it when
/// there is something to report. Who stops both delays the report until Erlang looks (py_port).
///
/// Keepers hold the read end of fd 0, and the outer one leaves a process that holds it for a moment longer: the BEAM's
/// next write would otherwise find a pipe without a reader, and the BEAM would close the port for EPIPE and never learn
/// the exit status. They read nothing.
Status start_below_keepers(PoolMark mark);

/// The main function of `--kill KEEPER MARK`: ends all processes of a pool, also when the keepers are stopped or gone.
/// KEEPER is the outer one, 0 when it is not known. 0: nothing is left; 1: something would not die; 2: bad arguments.
int kill_pool(const char* keeper, const char* mark);

/// The exit status that stands for what waitpid says.
int exit_status_of(int wait_status);

}  // namespace erlang_python
