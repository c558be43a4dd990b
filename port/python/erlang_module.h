#pragma once

#include "python/erlang_link.h"
#include "python/py_ref.h"

namespace erlang_python {

/// Registers the built-in module `_erlang`, which the package `erlang` uses. Before CPython starts.
void register_erlang_module();

/// Binds the `_erlang` of the current interpreter to the port. `context` is what threads that Python started itself are
/// counted to: the context of an owngil interpreter, 0 in the main interpreter, which many contexts share.
/// False with a Python error set.
bool bind_erlang_module(const ErlangLink& link, ContextId context);

/// When the package `erlang` is loaded: from now on its functions can ask Erlang. False with a Python error set.
bool open_erlang_module();

/// What a bound `_erlang` is bound to.
struct ErlangModule {
  const ErlangLink* link = nullptr;
  ContextId context = 0;
  PyObject* ticket_type = nullptr;     ///< class `Ticket`; lives as long as the module
  PyObject* scope_variable = nullptr;  ///< the contextvars.ContextVar `scope`, likewise
  PythonTypes* types = nullptr;  ///< owned: threads may ask whose context is gone; null until open_erlang_module()
};

/// Of the module `_erlang` itself; its fields are null before it is bound.
ErlangModule& erlang_module_state(PyObject* module);

/// The calling thread serves `context` from now on; 0: none.
void set_thread_context(ContextId context);

/// While it lives, `sys.modules["__main__"]` shows this namespace to the calling thread. The creator holds the dict.
class ThreadNamespace {
 public:
  explicit ThreadNamespace(PyObject* borrowed);
  ~ThreadNamespace();
  ThreadNamespace(const ThreadNamespace&) = delete;
  ThreadNamespace& operator=(const ThreadNamespace&) = delete;

 private:
  PyObject* const before_;
};

}  // namespace erlang_python
