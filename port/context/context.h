#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context/counters.h"
#include "context/interrupter.h"
#include "context/levels.h"
#include "context/mailbox.h"
#include "context/runner.h"
#include "context/services.h"
#include "context/tasks.h"
#include "interpreter/interpreter.h"
#include "loop/companion.h"
#include "request/request.h"
#include "request/request_scope.h"

namespace erlang_python {

/// One context: a mailbox, and the thread that serves it one request at a time, in arrival order.
///
/// A request that waits for a callback is the exception: on top of it the thread serves requests of call chains, each a
/// *level* of its own (docs/design.md, "Callbacks").
///
/// Its parts: what runs, and its end (Levels, Interrupter), running one request (Runner), coroutines and streams
/// (Tasks). Here is the thread: it reads stdin, sleeps, and serves.
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
  RequestScope* scope_now(RequestScope& scope, PyObject* module) override;
  std::uint64_t chain_of(RequestScope& scope, bool waits) override;
  std::uint64_t new_id(const RequestScope&) override { return services_.callbacks.new_context_id(); }
  void drop_id(std::uint64_t) override {}
  std::optional<Answer> await_result(std::uint64_t id, std::uint64_t chain) override;
  int watch_mail(bool on) override;
  void serve_watched() override;

  // LoopCompanion, for the event loop that runs.
  void between_rounds() override;
  void sleep(Waiter& waiter, std::int64_t deadline_ns) override;

  // --- Whoever reads stdin.

  /// True: the context sleeps and is to be woken.
  [[nodiscard]] bool accept(Request request) { return mailbox_.push(std::move(request)); }
  void wake() override { mailbox_.wake(); }
  /// Answers what waits, interrupts what runs, and ends the thread; `request` is the STOP_CONTEXT.
  [[nodiscard]] bool stop(Request request);
  /// The same at the end of Python, after which there is no other context; it has until then to end.
  [[nodiscard]] bool end(Request request, std::int64_t until_ns) {
    ends_ns_ = until_ns;
    return stop(std::move(request));
  }
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
  void serve_guest(const Request& request, const RequestScope* below) { runner_.run_guest(request, below); }

  bool executing() const { return executing_.load(std::memory_order_relaxed); }
  std::size_t queued() const { return mailbox_.size(); }
  const ContextCounters& counters() const { return counters_; }

 private:
  bool clear_up();
  void give_up_leadership();

  // serving.cc
  void serve();
  void run_waiting();
  /// `apart`: not on behalf of what is below on the stack.
  void execute(Request& request, bool apart = false);
  /// Attached, between two requests: lets the pipe take what was written.
  void wait_for_room();
  /// Reads stdin or sleeps until the mailbox may have something wanted.
  void await_mail(const Wanted& wanted, const Sleep& how = {});
  void lead(const Wanted& wanted, const Sleep& how);
  void stop_leading();
  void enter_python();
  void leave_python();

  // nesting.cc
  void take_result(Request result);
  void serve_nested(Request& request);

  // looping.cc
  /// A loop that ends at once whenever it is run, since something that it needs is gone, must not keep the context from
  /// serving what needs no loop, nor the processor busy.
  bool loop_is_broken() const { return loop_failures_ >= 3; }
  void run_loop();
  Wanted wanted_by_loop() const;
  bool serve_mail(const Wanted& wanted);
  bool starts_on_loop(const Request& request) const;

  const ContextId id_;
  const Mode mode_;
  const std::vector<std::string> preload_;
  Services& services_;
  Mailbox mailbox_;
  ContextCounters counters_;
  std::atomic<bool> executing_ = false;

  std::atomic<std::int64_t> ends_ns_ = 0;  ///< 0: Python goes on after it

  bool stopping_ = false;  // Of the leader: whoever reads stdin.

  const std::shared_ptr<Interrupter> interrupter_;  ///< shared with its thread

  // The context's thread only.
  Levels levels_;
  Tasks tasks_;
  Runner runner_;
  Interpreter* interpreter_ = nullptr;
  Batch batch_;
  SpinPolicy spin_;
  bool first_round_ = false;
  int loop_failures_ = 0;  ///< how often in a row it has ended before it could sleep
  bool stopped_ = false;
  std::string stop_alias_;
};

}  // namespace erlang_python
