#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "context/interrupter.h"
#include "context/mailbox.h"
#include "context/services.h"
#include "context/ticket.h"
#include "etf/term_writer.h"
#include "request/request_scope.h"

namespace erlang_python {

/// Requests on top of one another. Each takes some KiB of the thread's stack (kStackBytes in threads.cc), and Python's
/// own limit of recursion begins anew in each.
constexpr std::size_t kMaxLevels = 1000;

/// What the context's thread keeps of an entry of the request stack. It is used again by the next one at its height.
struct Level {
  RequestScope scope;
  std::uint64_t awaited = 0;           ///< number of the callback that it waits for, 0 for none
  std::optional<Answer> early_answer;  ///< came while levels above were running
  std::shared_ptr<Ticket> step;        ///< of a loop: whose step waits for a callback
  bool step_ends = false;              ///< with `step`: it was cancelled
  std::optional<Wanted> watched;       ///< by an event loop that is not ours
  TermWriter reply;

  explicit Level(const TermLimits& limits) : reply(limits) {}
};

/// How the interrupts of a level have ended with it.
struct Ended {
  Interruption why;    ///< kNone unless an exception was set in the thread
  bool pending;        ///< Python ended before it could be raised
  Interruption asked;  ///< also when it came too late to be set
};

/// The levels of a context, from the lowest to the top. Context's thread only.
class Levels {
 public:
  Levels(ContextId id, CallbackWaiter& waiter, Mailbox& mailbox, Interrupter& interrupter, Services& services)
      : id_(id), waiter_(waiter), mailbox_(mailbox), interrupter_(interrupter), services_(services) {}
  Levels(const Levels&) = delete;
  Levels& operator=(const Levels&) = delete;

  std::size_t depth() const { return interrupter_.entries().depth(); }
  bool empty() const { return depth() == 0; }
  Level& top() { return *levels_[depth() - 1]; }
  const Level& top() const { return *levels_[depth() - 1]; }
  Level& at(std::size_t index) { return *levels_[index]; }

  /// The context's event loop is the lowest level.
  bool on_loop() const { return interrupter_.entries().on_loop(); }
  /// Nothing runs but that loop.
  bool only_loop() const { return depth() == 1 && on_loop(); }
  /// There is nothing below the top but that loop, if it runs.
  bool top_is_lowest() const { return depth() == interrupter_.entries().ground() + 1; }
  /// Something below the top waits for it.
  bool top_is_nested() const { return !top_is_lowest() || levels_.front()->awaited != 0; }
  /// The top runs an event loop, whose steps may wait: that of the context, or one of its own.
  bool top_has_loop() const { return interrupter_.entries().has_loop(depth() - 1); }
  /// Of the request that the top is nested in; null when there is none, or when it is of another chain, and what waits
  /// below is none of the top's business.
  const RequestScope* scope_below() const;

 private:
  friend class Running;
  Level& begin(const RequestStack::Begin& entry, const Message* request);
  Ended end();

  const ContextId id_;
  CallbackWaiter& waiter_;
  Mailbox& mailbox_;
  Interrupter& interrupter_;
  Services& services_;
  std::vector<std::unique_ptr<Level>> levels_;  ///< the first depth() are in use
};

/// While it lives, something runs in the context: everything that may run Python code of the user. Only there can it be
/// interrupted, and only there is it seen that it does not end. Attached, on the context's thread.
class Running {
 public:
  /// `request`: whose scope it runs in; null for none.
  Running(Levels& levels, const RequestStack::Begin& entry, const Message* request = nullptr)
      : levels_(levels), level_(levels.begin(entry, request)) {}
  ~Running() {
    if (!ended_) static_cast<void>(end());
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  /// Also when it has ended: for its reply.
  Level& level() { return level_; }
  Ended end() {
    ended_ = true;
    return levels_.end();
  }

 private:
  Levels& levels_;
  Level& level_;
  bool ended_ = false;
};

}  // namespace erlang_python
