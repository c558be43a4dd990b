#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/chain.h"
#include "base/mutex.h"
#include "base/result.h"
#include "callback/inbox.h"
#include "request/request.h"
#include "request/request_scope.h"

namespace erlang_python {

/// The callbacks of the port process that are out, the names that Erlang has registered, and numbers for both kinds of
/// callback and for call chains. Any thread; never waits with a GIL.
class Callbacks {
 public:
  explicit Callbacks(std::vector<std::string> functions) { set_functions(std::move(functions)); }
  Callbacks(const Callbacks&) = delete;
  Callbacks& operator=(const Callbacks&) = delete;

  // --- Names.

  void set_functions(std::vector<std::string> names);
  bool is_registered(std::string_view name) const;
  bool has_functions() const { return has_functions_.load(std::memory_order_relaxed); }
  std::vector<std::string> functions() const;

  // --- Numbers.

  /// Of a callback whose RESULT goes to the mailbox of the context that waits for it.
  std::uint64_t new_context_id() { return next_id_.fetch_add(2, std::memory_order_relaxed) | 1; }
  static bool is_context_id(std::uint64_t id) { return (id & 1) != 0; }
  /// Of a call chain: larger than those of all chains that began before it on this machine.
  std::uint64_t new_chain();
  /// Of a thread that works for the request that began this chain: of the same age, and its own.
  std::uint64_t new_line(std::uint64_t chain) {
    return line_of_chain(chain, next_line_.fetch_add(1, std::memory_order_relaxed));
  }
  /// Of a request that came in this chain: RequestScope::nesting.
  std::uint64_t nesting_of(std::uint64_t chain) {
    return chain == 0 ? 0 : next_nesting_.fetch_add(1, std::memory_order_relaxed);
  }

  // --- Threads that have no context of their own.

  /// A callback that the calling thread will await(), in this chain. Before its frame is sent. `context`: of the owngil
  /// interpreter that the thread belongs to, 0 for the main interpreter.
  std::uint64_t begin_thread(std::uint64_t chain, ContextId context);
  /// Detached. The answer, or a request of the chain that the thread is to run before it waits on, or wake() was
  /// called.
  struct Woken {};
  std::variant<Answer, Request, Woken> await(std::uint64_t id);
  /// Any thread.
  void wake(std::uint64_t id);
  /// The thread waits no more. What it was to run and has not.
  std::deque<Request> give_up(std::uint64_t id);

  // --- Coroutines.

  /// A callback of a coroutine on the loop of a context, which serves what its function asks for by itself.
  std::uint64_t begin_in(std::shared_ptr<Inbox> inbox);
  /// Of a coroutine on a loop in a thread that has no context: its function's requests, of this chain, go to the inbox.
  std::uint64_t begin_in_thread(std::shared_ptr<Inbox> inbox, std::uint64_t chain, ContextId context);

  /// Nobody waits any more. False: the answer has been delivered.
  bool forget(std::uint64_t id);

  // --- The end.

  /// Python is being ended: Erlang answers nothing any more. All that wait get an answer without a frame, and so does
  /// whoever begins to.
  void close();
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // --- Whoever reads stdin.

  /// A nested request for `context`: given to the thread that began its chain if that waits, in await() or in an event
  /// loop, and belongs to the same interpreter; the context itself may be waiting for that thread. False: it is the
  /// context's, `request` is untouched.
  bool offer(Request& request, bool in_main_interpreter);

  /// A RESULT whose number is not a context's. One that nobody waits for is dropped.
  void deliver(std::uint64_t id, Answer answer);

 private:
  /// With waiting_mu_ held.
  struct Thread {
    Condition bell;
    std::optional<Answer> answer;
    std::deque<Request> nested;
    bool woken = false;
  };
  struct Waiter {
    std::variant<std::shared_ptr<Thread>, std::shared_ptr<Inbox>> place;
    std::uint64_t chain = 0;  ///< whose requests it serves; 0: it is on a context, which does
    ContextId context = 0;
  };
  using Waiting = std::unordered_map<std::uint64_t, Waiter>;

  std::uint64_t add(Waiter waiter);
  static void refuse(std::uint64_t id, const Waiter& waiter);
  void erase(Waiting::iterator waiter) REQUIRES(waiting_mu_);

  std::atomic<std::uint64_t> next_id_ = 2;
  std::atomic<std::uint64_t> last_chain_ = 0;
  std::atomic<std::uint64_t> next_nesting_ = 1;
  std::atomic<std::uint64_t> next_line_ = 0;

  std::atomic<bool> closed_ = false;

  Mutex waiting_mu_;
  Waiting waiting_ GUARDED_BY(waiting_mu_);
  /// By chain: who serves it, innermost last.
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> servers_ GUARDED_BY(waiting_mu_);

  std::atomic<bool> has_functions_ = false;
  mutable Mutex functions_mu_;
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_set<std::string, TextHash, std::equal_to<>> functions_ GUARDED_BY(functions_mu_);
};

}  // namespace erlang_python
