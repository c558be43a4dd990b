#pragma once

#include <atomic>

#include "callback/erlang_link.h"
#include "python/namespace.h"
#include "python/py_ref.h"
#include "python/standard_streams.h"

namespace erlang_python {

/// Binds the `_erlang` of the current interpreter to the port. `context` is what threads that Python started itself are
/// counted to: the context of an owngil interpreter, 0 in the main interpreter, which many contexts share.
/// False with a Python error set.
bool bind_erlang_module(const ErlangLink& link, ContextId context);

/// When the package `erlang` is loaded: from now on its functions can ask Erlang. False with a Python error set.
bool open_erlang_module();

/// What a bound `_erlang` is bound to. The atomic fields are written by each context of the interpreter that starts.
struct ErlangModule {
  std::atomic<const ErlangLink*> link = nullptr;
  std::atomic<ContextId> context = 0;
  PyObject* ticket_type = nullptr;     ///< class `Ticket`; owned, until the module goes
  PyObject* steps_type = nullptr;      ///< class `Steps`, likewise
  PyObject* origin_type = nullptr;     ///< class `Origin`, likewise
  PyObject* scope_variable = nullptr;  ///< the contextvars.ContextVar `scope`, likewise
  /// Owned: threads may ask whose context is gone. Null until open_erlang_module().
  std::atomic<PythonTypes*> types = nullptr;
  LeftoverCollector leftovers;
  StandardStreams streams;
};

/// Of the module `_erlang` itself; its fields are null before it is bound.
ErlangModule& erlang_module_state(PyObject* module);

}  // namespace erlang_python
