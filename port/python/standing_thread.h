#pragma once

#include <Python.h>

namespace erlang_python {

// With a GIL: what another thread of the interpreter does, which stands still meanwhile.

/// It imports a module.
bool is_importing(PyThreadState* thread);

/// It is where `threading` starts a thread or ends it, around its run(). An exception there would leave whoever waits
/// for its start, or its entry among the threads, behind.
bool is_starting_or_ending(PyThreadState* thread);

}  // namespace erlang_python
