#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "context/counters.h"
#include "context/interrupter.h"
#include "context/levels.h"
#include "context/services.h"
#include "context/ticket.h"
#include "interpreter/interpreter.h"
#include "request/request.h"

namespace erlang_python {

/// The requests of a context that go on after their first step, on its event loop: coroutines and streams. The other
/// half is `erlang._tasks`. Context's thread only, attached.
class Tasks final : public RunningSteps {
 public:
  Tasks(ContextId id, CallbackWaiter& waiter, Levels& levels, Interrupter& interrupter, ContextCounters& counters,
        Services& services);
  Tasks(const Tasks&) = delete;
  Tasks& operator=(const Tasks&) = delete;

  /// Tickets hold `self`, which keeps the context.
  void open(std::weak_ptr<Tasks> self, const Interpreter& interpreter);

  enum class Deferral { kNone, kStarted, kFailed };
  /// Makes a task or stream of the value of a request that asks for it; kFailed with a Python error set.
  Deferral defer(const Request& request, PyObject* value);
  /// In a thread that is not the context's: awaits a coroutine there and then.
  static PyRef run_as_guest(const Request& request, PyRef value);
  /// The first step of a task has ended, which is a request like others.
  void first_step_ended(const std::string& alias, const Ended& ended);
  void cancel(const std::string& alias, Interruption why);
  void take_credit(const Request& request);
  /// Ends all of them, and the loop.
  void end_all();

  // --- The loop of the context.

  /// There have been tasks: the thread is in their loop when it has nothing else to do.
  bool any_yet() const { return any_yet_; }
  /// Runs it until stop_loop(). False: an error that is worth a line has ended it.
  bool run_loop();
  void stop_loop();
  std::uint64_t oldest_chain() const;
  /// Whose step the top level runs, which has an event loop.
  std::shared_ptr<Ticket> step_of_top() const;
  std::shared_ptr<Ticket> running_step(PyObject* variables) const override;
  std::shared_ptr<Origin> origin_of_top(const Ticket* step) const override;

  // --- The class `_erlang.Ticket`. Errors are Python errors that are set.

  enum class Pumped { kMore = 0, kNoCredit = 1, kEnded = 2 };
  void finish(Ticket& ticket, PyObject* value);
  void fail(Ticket& ticket, PyObject* exception);
  void end_stream(Ticket& ticket);
  bool send_item(Ticket& ticket, PyObject* value);
  std::optional<Pumped> pump(Ticket& ticket, PyObject* iterator);
  /// Its loop tells the task to end now: because it is late, or all tasks are to end.
  void note_told(Ticket& ticket, Interruption why);
  /// The same, because it is late, and every second from then on: one that never ends is reported.
  void note_late(Ticket& ticket);

 private:
  std::shared_ptr<Ticket> make(const Request& request);
  void add(const std::shared_ptr<Ticket>& ticket);
  void remove(Ticket& ticket);
  std::shared_ptr<Ticket> find(std::string_view alias) const;
  void give_slot_back(Ticket& ticket);
  void answer(Ticket& ticket, TermWriter& out, std::size_t payload_start);
  void note_deadlines();
  void remind_late();
  static void tell(const char* what, const std::shared_ptr<Ticket>& ticket);
  bool send_encoded(Ticket& ticket, TermWriter& out);
  std::optional<Pumped> pump_for_a_while(Ticket& ticket, PyObject* iterator);

  const ContextId id_;
  CallbackWaiter& waiter_;
  Levels& levels_;
  Interrupter& interrupter_;
  ContextCounters& counters_;
  Services& services_;
  const Interpreter* interpreter_ = nullptr;
  std::weak_ptr<Tasks> self_;
  std::map<std::string, std::shared_ptr<Ticket>, std::less<>> tickets_;  ///< by alias
  std::multiset<std::int64_t> deadlines_;
  bool any_yet_ = false;
};

}  // namespace erlang_python
