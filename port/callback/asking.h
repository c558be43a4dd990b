#pragma once

#include "callback/erlang_link.h"
#include "conversion/python_types.h"
#include "python/py_ref.h"
#include "request/request_scope.h"

namespace erlang_python {

/// Functions of Erlang that are always there, by number (docs/protocol.md, "Callbacks"). For the package alone: user
/// code names functions by a str.
enum class SystemFunction : std::uint8_t {
  kIsAlive = 1,
  kWhereis = 2,
  kAdmitAtom = 3,
  kStateIncr = 4,
  kLastInline = kStateIncr,  ///< those up to this one are answered by py_port itself
  kStateFetch = 10,
  kStateStore = 11,
  kStateRemove = 12,
  kStateKeys = 13,
  kStateClear = 14,
};

/// What is called. Borrowed: the caller holds the name.
struct Callee {
  PyObject* name;                        ///< a str: of a registered function, or what errors call the system function
  std::optional<SystemFunction> system;  ///< not a registered function
};

/// How Python code of one interpreter asks Erlang. Any thread, attached.
struct Asker {
  const ErlangLink& link;
  const PythonTypes& types;
  ContextId context;    ///< counted to when the thread runs no request; 0 for none
  RequestScope* scope;  ///< of the request that the thread, or the task that it steps, belongs to; null for none
};

/// The registered function of that name; nullopt with TypeError set for what is no str.
std::optional<Callee> registered_function(PyObject* name);

/// Calls a function and waits for its value. Null with a Python error set: erlang.ErlangError, erlang.UnknownFunction,
/// what encoding an argument or decoding the value raised, KeyboardInterrupt when the request was interrupted.
PyRef ask(const Asker& asker, const Callee& callee, PyObject* const* arguments, std::size_t count);

/// A call whose answer goes to an inbox.
struct Asked {
  std::uint64_t id = 0;  ///< 0: it was not sent, and a Python error is set
  std::uint64_t chain = 0;
};

/// Sends the call. On a loop in a thread that has no context `inbox` gets the requests of its chain, too.
Asked ask_later(const Asker& asker, const Callee& callee, PyObject* const* arguments, std::size_t count,
                std::shared_ptr<Inbox> inbox);

/// The value of an answer, or null with a Python error set, as ask() does it.
PyRef read_answer(const Answer& answer, const PythonTypes& types, const Callee& callee);

}  // namespace erlang_python
