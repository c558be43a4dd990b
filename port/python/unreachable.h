#pragma once

#include <cstdint>

#include "python/py_ref.h"

namespace erlang_python {

/// What became of a dict of globals that its owner has let go.
enum class LetGo : std::uint8_t {
  kGone,      ///< with all that nothing else reached
  kHeld,      ///< somebody else can reach it, so its functions keep it, as in a module
  kTooLarge,  ///< too much to look at; if it is garbage, Python's collector will find it
};

/// Gives up the owner's reference to a dict of globals. Its functions refer to it, so that it would stay until Python's
/// collector comes by, which goes by the number of objects and not by their size. So this does what the collector
/// would, for what is reached from this dict: nothing that anybody else can reach is touched, and finalizers run before
/// anything is taken from them. Attached; runs Python code; an error that is set stays set.
LetGo let_go(PyRef globals);

}  // namespace erlang_python
