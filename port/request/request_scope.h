#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "protocol/frame.h"
#include "protocol/messages.h"
#include "python/namespace.h"
#include "request/origin.h"
#include "thread/current_thread.h"

namespace erlang_python {

/// Erlang's answer to a callback: a RESULT frame, and where in it the outcome begins.
struct Answer {
  Frame frame;
  std::size_t body = 0;
};

struct RequestScope;

/// A thread that runs requests, while one of them waits for Erlang.
class CallbackWaiter {
 public:
  virtual ~CallbackWaiter() = default;
  /// False: a thread that Python started, and so a request that runs there as a guest.
  virtual bool in_context() const { return true; }
  /// Attached, of a scope that varies: the one that holds now; null for none. `module`: `_erlang`.
  virtual RequestScope* scope_now(RequestScope& scope, PyObject* module) = 0;
  /// The chain of a callback that is about to be sent; begins one when the request is in none. `waits`: the thread will
  /// wait for it, in await_result().
  virtual std::uint64_t chain_of(RequestScope& scope, bool waits) = 0;
  /// The number of a callback that is about to be sent, and will be awaited unless it is dropped.
  virtual std::uint64_t new_id(const RequestScope& scope) = 0;
  virtual void drop_id(std::uint64_t id) = 0;
  /// Attached before and after, not in between. Waits for the RESULT of callback `id` of this chain, whose frame has
  /// been sent, and serves nested requests meanwhile. nullopt with KeyboardInterrupt set: the request was interrupted.
  virtual std::optional<Answer> await_result(std::uint64_t id, std::uint64_t chain) = 0;

  /// For an event loop that is not ours, while its coroutines wait for callbacks: a descriptor that is readable when
  /// serve_watched() has something to do; -1 for none.
  virtual int watch_mail(bool on) = 0;
  virtual void serve_watched() = 0;
};

/// What a callback tells Erlang about the request that makes it, and what its code and its threads know of it. Lives on
/// the thread that runs the request.
struct RequestScope {
  ContextId context = 0;
  std::uint64_t env = 0;
  std::uint64_t chain = 0;  ///< 0 until the first callback of a request that is not nested itself
  Bytes caller;             ///< as in the request; empty when there is no calling process (a preload)
  CallbackWaiter* waiter = nullptr;
  /// Of an event loop, whose tasks have scopes of their own, or of work that may outlive its request.
  bool varies = false;
  std::uint64_t nesting = 0;  ///< not 0: a callback waits for this request, whose number this is (CallbackGate)
  const std::shared_ptr<Namespace>* home = nullptr;  ///< where its code runs, which whoever made the scope holds
  std::shared_ptr<Origin> origin;                    ///< none until the first work leaves it for another thread
  Origin* above = nullptr;                           ///< of a guest: of the work of its thread
};

/// The scope of the innermost request that the calling thread runs or works for; null for none.
inline RequestScope* current_scope() { return current_thread().scope; }
inline void set_current_scope(RequestScope* scope) { current_thread().scope = scope; }

/// Attached. The same, as it is now: of the task whose step an event loop runs; null when the request has ended that
/// the thread works for. `module`: `_erlang`.
inline RequestScope* scope_now(PyObject* module) {
  RequestScope* const scope = current_scope();
  return scope == nullptr || !scope->varies ? scope : scope->waiter->scope_now(*scope, module);
}

}  // namespace erlang_python
