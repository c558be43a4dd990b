#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "callback/request_scope.h"
#include "context/calling.h"
#include "context/envs.h"
#include "context/mailbox.h"
#include "context/request.h"
#include "context/services.h"
#include "context/ticket.h"
#include "loop/companion.h"
#include "python/interpreter.h"
#include "python/wake_slot.h"

namespace erlang_python {

/// Requests on top of one another. Each takes some KiB of the thread's stack (kStackBytes in threads.cc), and Python's
/// own limit of recursion begins anew in each.
constexpr std::size_t kMaxLevels = 1000;

/// A task that is late is ended by a timer of the loop. When none of its timers has come so long after, a task holds up
/// the loop, and is interrupted if it is the one.
constexpr std::int64_t kLoopMayBeLateNs = 100 * kNsPerMs;

/// What was told to end and goes on is told again after that: until then it is left to its finally blocks.
constexpr std::int64_t kInterruptAgainNs = 1'000 * kNsPerMs;

/// Numbers for STATS; read by any thread.
struct ContextCounters {
  std::atomic<std::uint64_t> calls = 0;
  std::atomic<std::uint64_t> errors = 0;
  std::atomic<std::uint64_t> timeouts = 0;
  std::atomic<std::uint64_t> envs = 0;
  std::atomic<std::uint64_t> tasks = 0;  ///< coroutines and streams that have not ended
};

/// One context: a mailbox, the namespaces, and the thread that serves them one request at a time, in arrival order.
///
/// A request that waits for a callback is the exception: on top of it the thread serves requests of call chains, each a
/// *level* of its own (docs/design.md, "Callbacks").
class Context final : public Sleeper,
                      public CallbackWaiter,
                      public LoopCompanion,
                      public std::enable_shared_from_this<Context> {
 public:
  Context(ContextId id, Mode mode, std::vector<std::string> preload, Services& services);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ContextId context() const override { return id_; }
  Mode mode() const { return mode_; }

  // --- The context's thread.

  /// Runs imports and preload, answers `alias`, serves requests until it is stopped, and cleans the interpreter up.
  /// True: the interpreter may serve another context.
  bool run(Interpreter& interpreter, Bytes start_alias);
  /// The context cannot start: answers `alias` and everything that waits.
  void fail_start(Bytes start_alias, const std::string& reason);

  // CallbackWaiter, for the request that runs.
  std::uint64_t chain_of(RequestScope& scope, bool waits) override;
  std::uint64_t new_id(const RequestScope&) override { return services_.callbacks.new_context_id(); }
  void drop_id(std::uint64_t) override {}
  std::optional<Answer> await_result(std::uint64_t id, std::uint64_t chain) override;
  int watch_mail(bool on) override;
  void serve_watched() override;

  // LoopCompanion, for the event loop that runs.
  void between_rounds() override;
  void sleep(Waiter& waiter, std::int64_t deadline_ns) override;

  // The class `_erlang.Ticket`. Errors are Python errors that are set.

  enum class Pumped { kMore = 0, kNoCredit = 1, kEnded = 2 };
  void finish_ticket(Ticket& ticket, PyObject* value);
  void fail_ticket(Ticket& ticket, PyObject* exception);
  void end_stream(Ticket& ticket);
  bool send_item(Ticket& ticket, PyObject* value);
  std::optional<Pumped> pump(Ticket& ticket, PyObject* iterator);
  /// Its loop tells the task to end now: because it is late, or all tasks are to end.
  void note_told(Ticket& ticket, Interruption why);
  /// The same, because it is late, and every second from then on: one that never ends is reported.
  void note_late(Ticket& ticket);

  // --- Whoever reads stdin.

  /// True: the context sleeps and is to be woken.
  [[nodiscard]] bool accept(Request request) { return mailbox_.push(std::move(request)); }
  void wake() override { mailbox_.wake(); }
  /// Answers what waits, interrupts what runs, and ends the thread; `request` is the STOP_CONTEXT.
  [[nodiscard]] bool stop(Request request);
  /// stop() was called: nothing more may be accepted.
  bool stopping() const { return stopping_; }
  /// False: nothing is running.
  bool interrupt();
  /// Ends a request, wherever it is: `request` is the CANCEL. True: the context is to be woken.
  [[nodiscard]] bool cancel(Request request);

  // --- The loop thread.

  bool busy() const { return executing_.load(std::memory_order_seq_cst) || !mailbox_.empty(); }
  /// Drops queued requests that are past their deadline, interrupts a running one, reports one that does not end.
  void watch(std::int64_t now_ns);

  // --- Any thread.

  /// Attached to the interpreter of this context, with a GIL: runs a nested request in the calling thread, which waits
  /// for a callback and is not the context's.
  void serve_guest(const Request& request);

  bool executing() const { return executing_.load(std::memory_order_relaxed); }
  std::size_t queued() const { return mailbox_.size(); }
  const ContextCounters& counters() const { return counters_; }

 private:
  /// What runs: a request, or the start or the clearing up of something that runs Python code of the user too.
  struct Level {
    // Guarded by current_mu_.
    std::int64_t deadline_ns = 0;
    std::int64_t interrupted_ns = 0;  ///< when the last interrupt was sent
    std::int64_t held_ns = 0;         ///< since when one waits for the end of an import
    Interruption interruption = Interruption::kNone;
    bool wanted = false;     ///< an exception is to be raised in it
    bool delivered = false;  ///< it was
    bool stuck_reported = false;
    bool cancelled = false;             ///< it is to be interrupted when other chains above it have ended
    bool apart = false;                 ///< nothing below waits for it: it was served while that gave others a turn
    std::int64_t resumed_ns = 0;        ///< when the last one above that was apart ended
    std::int64_t patience_ns = 0;       ///< how long after resumed_ns it is not late; of the loop: not 0
    std::int64_t cancel_ns = 0;         ///< of a loop: since when it should have looked at a CANCEL
    std::int64_t step_deadline_ns = 0;  ///< of the loop: of the step that waits for those above
    bool is_loop = false;               ///< the context's event loop
    bool has_loop = false;              ///< it runs its coroutine or stream in a loop of its own
    std::string alias;

    // The context's thread only.
    RequestScope scope;
    std::uint64_t awaited = 0;           ///< number of the callback that it waits for, 0 for none
    std::optional<Answer> early_answer;  ///< came while levels above were running
    std::shared_ptr<Ticket> step;        ///< of a loop: whose step waits for a callback
    bool step_ends = false;              ///< with `step`: it was cancelled
    std::optional<Wanted> watched;       ///< by an event loop that is not ours
    PyRef variables;                     ///< the context variables before the lowest request, for other chains above
    TermWriter reply;

    explicit Level(std::size_t max_reply_bytes) : reply(max_reply_bytes) {}
  };

  /// How the interrupts of a level have ended with it.
  struct Ended {
    Interruption why;    ///< kNone unless an exception was set in the thread
    bool pending;        ///< Python ended before it could be raised
    Interruption asked;  ///< also when it came too late to be set
  };

  bool prepare(TermWriter& reply);
  bool clear_up();
  void drop_env(std::uint64_t env, bool apart);
  void serve();
  void run_waiting();
  /// Reads stdin or sleeps until the mailbox may have something wanted.
  void await_mail(const Wanted& wanted, const Sleep& how = {});
  void lead(const Wanted& wanted, const Sleep& how);
  void stop_leading();
  void enter_python();
  void leave_python();
  /// `apart`: not on behalf of what is below on the stack.
  void execute(Request& request, bool apart = false);
  void forget(Rest& rest, bool apart);
  void answer_with_error(const std::vector<Request>& requests, std::string_view reason);
  /// Takes a request out of the mailbox and answers it with an error. False: there is none of that alias.
  bool answer_waiting(Bytes alias, std::string_view reason);
  void refuse_nesting(const Request& request);
  bool stands_on_another_chain() const;
  bool is_lowest() const { return depth_ == (loop_runs_ ? 2U : 1U); }
  /// True: a CANCEL for this request came after it had left the mailbox and before it began. It is taken out.
  bool take_cancel(Bytes alias);
  void take_result(Request result);
  void run_loop();
  void stop_loop();
  Wanted wanted_by_loop() const;
  bool serve_mail(const Wanted& wanted);
  bool starts_on_loop(const Request& request) const;
  bool interrupted_while_waiting();
  std::uint64_t oldest_task_chain() const;
  void begin_step_wait(Level& loop);
  void begin_own_loop(std::int64_t deadline_ns);
  bool raise_if_pending();
  /// False: the reply comes later.
  [[nodiscard]] bool write_result(Request& request, TermWriter& out, std::size_t payload_start);
  void write_interruption(TermWriter& out, Interruption why);
  enum class Deferral { kNone, kStarted, kFailed };
  /// Makes a task or stream of the value of a request that asks for it; kFailed with a Python error set.
  Deferral defer(const Request& request, PyObject* value);
  /// In a thread that is not the context's: awaits a coroutine there and then.
  static PyRef run_as_guest(const Request& request, PyRef value);
  void add_ticket(const std::shared_ptr<Ticket>& ticket);
  void remove_ticket(Ticket& ticket);
  void give_slot_back(Ticket& ticket);
  void answer_ticket(Ticket& ticket, TermWriter& out, std::size_t payload_start);
  bool send_encoded(Ticket& ticket, TermWriter& out);
  void spare_first_step(const Ticket& ticket);
  void take_credit(const Request& request);
  void cancel_ticket(const std::string& alias, Interruption why);
  void note_first_step(const std::string& alias, const Ended& ended);
  void tell_task(const char* what, const std::shared_ptr<Ticket>& ticket);
  void end_tasks();
  void watch_task_deadlines();
  void remind_late_tasks();
  void settle_interrupt(const Ticket& ticket);

  struct Written {
    bool value;         ///< and not an exception
    bool deferred;      ///< neither: the reply comes later
    std::size_t bytes;  ///< that the frame would have, when the writer has overflowed
  };
  /// Runs a request, or what is left of it, and writes its value or the exception that it ended with; neither when it
  /// gives way to others, and then `rest` has what is left.
  Written write_value(const Request& request, Rest& rest, Calling& calling, TermWriter& out);
  PyRef run_python(const Request& request, Rest& rest, Calling& calling);
  /// Whether a request that goes on with this does so when others have had their turn.
  bool gives_way(PyObject* work, const Calling& calling) const;
  /// The header of a reply comes on top of the value; so does the error that replaces a value that is too large.
  static std::size_t max_reply_bytes(const PortConfig& config) { return config.max_value_bytes + 4096; }
  /// Everything that may run Python code of the user happens between these two, attached: only there can it be
  /// interrupted, and only there is it seen that it does not end. `alias` may be empty.
  Level& begin(Bytes alias, std::int64_t deadline_ns, const Message* request = nullptr, bool apart = false);
  Ended end();
  void send_reply(TermWriter& out, std::size_t payload_start, Bytes alias);
  void answer_stopped(const std::vector<Request>& requests);
  void give_up_leadership();

  /// With current_mu_ held.
  bool has_another_chain_above(std::size_t index) const;
  void report_stuck(const std::string& alias);
  /// Where what runs now begins: the level of this index does not wait for those above it only to give them a turn.
  /// With current_mu_ held, and a level.
  std::size_t running_from() const;
  /// Interrupts the level of this index and those above it that it waits for: they end one after the other. With
  /// current_mu_ held.
  void interrupt_from(std::size_t index, Interruption why, std::int64_t now_ns);
  /// The same for a CANCEL, which is no reason to end what others have asked for. With current_mu_ held.
  void cancel_from(std::size_t index, std::int64_t now_ns);
  /// Starts the thread that raises KeyboardInterrupt in the running request. With current_mu_ held.
  void start_interrupter();
  static void* interrupter_entry(void* argument);
  void deliver_interrupts();
  /// With current_mu_ held: whether the exception that is wanted is to wait.
  bool hold_off(Level& level, bool importing) const;
  /// With a GIL: whose step the loop runs, if any.
  std::shared_ptr<Ticket> running_ticket() const;
  /// Why this step is to be interrupted, when the loop is held up; kNone: it is not. With current_mu_ held.
  Interruption reason_for(const Ticket& ticket) const;
  bool is_loop(std::size_t index) const { return index == 0 && levels_.front()->patience_ns != 0; }

  const ContextId id_;
  const Mode mode_;
  const std::vector<std::string> preload_;
  Services& services_;
  Mailbox mailbox_;
  ContextCounters counters_;
  std::atomic<bool> executing_ = false;
  std::atomic<int> interrupters_ = 0;  ///< interrupter threads, 0 or 1; the interpreter stays while there is one

  bool stopping_ = false;  // Of the leader: whoever reads stdin.

  // The context's thread only.
  Interpreter* interpreter_ = nullptr;
  std::unique_ptr<Calling> calling_;
  std::unique_ptr<Envs> envs_;
  Batch batch_;
  SpinPolicy spin_;
  std::map<std::string, std::shared_ptr<Ticket>> tickets_;  ///< by alias
  std::multiset<std::int64_t> task_deadlines_;
  PyRef erlang_module_;     ///< while the loop runs; with a GIL also of the interrupter
  bool looping_ = false;    ///< there have been tasks: the thread is in its event loop when it has nothing else to do
  bool loop_runs_ = false;  ///< it is, as the lowest level
  bool first_round_ = false;
  bool stopped_ = false;
  std::string stop_alias_;

  std::mutex current_mu_;
  // Guarded by current_mu_. Taken with or without a GIL; nobody waits for a GIL while holding it.
  std::vector<std::unique_ptr<Level>> levels_;  ///< the first depth_ are in use; the thread alone changes both
  std::size_t depth_ = 0;
  PyInterpreterState* interpreter_state_ = nullptr;
  PyThreadState* thread_state_ = nullptr;
  unsigned long thread_ident_ = 0;
  WakeSlot* wake_slot_ = nullptr;  ///< where the thread sleeps inside code that Python called
};

}  // namespace erlang_python
