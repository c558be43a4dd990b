#pragma once

#include <Python.h>

namespace erlang_python {

/// Nobody may look at a thread that runs, and without a GIL it does. There an import is interrupted like other code,
/// and a step that holds up its loop is not: `hard_timeout_grace` ends it.
#ifdef Py_GIL_DISABLED
constexpr bool kThreadStands = false;
#else
constexpr bool kThreadStands = true;
#endif

// With a GIL: what another thread of the interpreter does, which stands still meanwhile.

/// It imports a module.
bool is_importing(PyThreadState* thread);

/// It is where `threading` starts a thread or ends it, around its run(). An exception there would leave whoever waits
/// for its start, or its entry among the threads, behind.
bool is_starting_or_ending(PyThreadState* thread);

}  // namespace erlang_python
