#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "context/calling.h"
#include "context/envs.h"
#include "context/mailbox.h"
#include "context/request.h"
#include "context/services.h"
#include "python/interpreter.h"

namespace erlang_python {

/// Numbers for STATS; read by any thread.
struct ContextCounters {
  std::atomic<std::uint64_t> calls = 0;
  std::atomic<std::uint64_t> errors = 0;
  std::atomic<std::uint64_t> timeouts = 0;
  std::atomic<std::uint64_t> envs = 0;
};

/// One context: a mailbox, the namespaces, and the thread that serves them one request at a time, in arrival order.
class Context final : public Sleeper, public std::enable_shared_from_this<Context> {
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

  // --- The loop thread.

  bool busy() const { return executing_.load(std::memory_order_seq_cst) || !mailbox_.empty(); }
  /// Drops queued requests that are past their deadline, interrupts a running one, reports one that does not end.
  void watch(std::int64_t now_ns);

  // --- Any thread.

  bool executing() const { return executing_.load(std::memory_order_relaxed); }
  std::size_t queued() const { return mailbox_.size(); }
  const ContextCounters& counters() const { return counters_; }

 private:
  /// What runs: a request, or the start or the clearing up of something that runs Python code of the user too.
  struct Current {
    bool running = false;
    std::int64_t deadline_ns = 0;
    std::int64_t interrupted_ns = 0;  ///< when the last interrupt was sent
    Interruption interruption = Interruption::kNone;
    bool wanted = false;     ///< the interrupter is to set an exception in the thread
    bool delivered = false;  ///< it has
    bool stuck_reported = false;
    std::string alias;
  };

  bool prepare(TermWriter& reply);
  bool clear_up();
  void drop_env(std::uint64_t env);
  void serve();
  void run_waiting();
  void lead();
  void execute(const Request& request);
  void write_result(const Request& request, TermWriter& out, std::size_t payload_start);
  PyRef run_python(const Request& request);
  /// Everything that may run Python code of the user happens between these two, attached: only there can it be
  /// interrupted, and only there is it seen that it does not end. `alias` may be empty.
  void begin(Bytes alias, std::int64_t deadline_ns);
  struct Ended {
    Interruption why;  ///< kNone unless an exception was set in the thread
    bool pending;      ///< Python ended before it could be raised
  };
  Ended end();
  void send_reply(TermWriter& out, std::size_t payload_start, const Message& message);
  void answer_stopped(const std::vector<Request>& requests);
  void give_up_leadership();

  /// Starts the thread that raises KeyboardInterrupt in the running request. With current_mu_ held.
  void start_interrupter(Interruption why, std::int64_t now_ns);
  static void* interrupter_entry(void* argument);
  void deliver_interrupts();

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
  TermWriter reply_;
  Batch batch_;
  SpinPolicy spin_;
  bool stopped_ = false;
  std::string stop_alias_;

  std::mutex current_mu_;
  // Guarded by current_mu_. Taken with or without a GIL; nobody waits for a GIL while holding it.
  Current current_;
  PyInterpreterState* interpreter_state_ = nullptr;
  unsigned long thread_ident_ = 0;
};

}  // namespace erlang_python
