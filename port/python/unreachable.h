#pragma once

#include <cstdint>

#include "python/py_ref.h"

namespace erlang_python {

/// What became of a dict of globals that its owner has let go.
enum class LetGo : std::uint8_t {
  kGone,          ///< with all that nothing else reached
  kLeavesCycles,  ///< gone, but something in it referred to itself, and is the collector's
  kHeld,          ///< somebody else can reach it, so its functions keep it, as in a module
  kTooLarge,      ///< too much to look at; if it is garbage, Python's collector will find it
};

/// Gives up the owner's reference to a dict of globals. Its functions refer to it, so that it would stay until Python's
/// collector comes by, which goes by the number of objects and not by their size. So when it is certain that nobody
/// else can come by any of them, their finalizers run, and then the dict is cleared: nothing else is taken from
/// anything. Who has a weak reference can come by what that is to until the collector runs, so a dict with a class that
/// has methods is kHeld.
///
/// `preload`: a dict whose values others have too, so that they need not be looked at; null for none. Attached; runs
/// Python code; an error that is set stays set.
LetGo let_go(PyRef globals, PyObject* preload = nullptr);

}  // namespace erlang_python
