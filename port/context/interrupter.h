#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "context/mailbox.h"
#include "context/services.h"
#include "interpreter/interpreter.h"
#include "request/origin.h"
#include "request/request_stack.h"
#include "thread/wake_slot.h"

namespace erlang_python {

class Ticket;

/// Knows the task whose step the event loop of a context runs.
class RunningSteps {
 public:
  /// With a GIL, any thread. `variables`: the context variables of the thread that runs the loop. Null for none.
  virtual std::shared_ptr<Ticket> running_step(PyObject* variables) const = 0;
  /// The same thread, and what the running step is. Of the request on top, for its threads; null for none.
  virtual std::shared_ptr<Origin> origin_of_top(const Ticket* step) const = 0;

 protected:
  ~RunningSteps() = default;
};

/// Ends what runs in a context: the request stack under its lock, and whoever carries its effects out.
///
/// Attaching to an interpreter waits for as long as C code holds the GIL, so neither the loop thread nor another
/// context's interrupt may do it: KeyboardInterrupt is set by a thread of its own, which lives as long as that takes.
class Interrupter final : public std::enable_shared_from_this<Interrupter> {
 public:
  /// The stack, locked for as long as this lives. Then the effects of its events are carried out. Nobody gets at it
  /// without one of these, so what they do is not analysed.
  class Locked {
   public:
    explicit Locked(Interrupter& of) NO_THREAD_SAFETY_ANALYSIS : of_(of) { of_.mu_.lock(); }
    ~Locked() NO_THREAD_SAFETY_ANALYSIS {
      if (!effects.empty()) of_.act(effects);
      of_.mu_.unlock();
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    RequestStack* operator->() const NO_THREAD_SAFETY_ANALYSIS { return &of_.stack_; }
    /// How far the end of a task of this context has come.
    Escalation& ending(Ticket& ticket) const;

    RequestStack::Effects effects = {};

   private:
    Interrupter& of_;
  };

  Interrupter(ContextId id, Mailbox& mailbox, Services& services);
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

  /// Any thread, with or without a GIL: nobody waits for a GIL while holding it.
  Locked stack() { return Locked(*this); }
  /// Without the lock: for the context's thread, which alone begins and ends entries, to see which there are. Not for
  /// how far their ends have come.
  const RequestStack& entries() const NO_THREAD_SAFETY_ANALYSIS { return stack_; }

  // --- The context's thread.

  /// It runs in this interpreter from now on.
  void open(const Interpreter& interpreter, const RunningSteps& steps);
  /// Detached. No interrupt reaches it any more.
  void close();
  /// Attached. Takes back an exception that was set and has not been raised. False: there is none.
  bool take_pending();
  /// Detached, while it waits: it is to end now.
  bool interrupts_wait();

  // --- Any thread.

  /// Detached. What the stack has to say each millisecond; `executing` as for RequestStack::tick().
  void tick(bool executing, std::int64_t now_ns) NO_THREAD_SAFETY_ANALYSIS;  // it has a Locked
  /// A request does not end.
  void announce_stuck(std::string_view alias);

 private:
  void act(const RequestStack::Effects& effects) REQUIRES(mu_);
  void start() REQUIRES(mu_);
  RequestStack::Delivery deliver(const std::shared_ptr<Ticket>& step, bool importing) REQUIRES(mu_);

  void run();
  /// In the interrupter thread. False: there is nothing left to do for it.
  bool interrupt_once();

  const ContextId id_;
  Mailbox& mailbox_;
  Services& services_;
  std::atomic<int> threads_ = 0;  ///< interrupter threads, 0 or 1; the interpreter stays while there is one

  Mutex mu_;
  RequestStack stack_ GUARDED_BY(mu_);
  PyInterpreterState* interpreter_ GUARDED_BY(mu_) = nullptr;  ///< from open() to close()

  // Written by open(), before there is an interpreter_.
  const RunningSteps* steps_ = nullptr;
  PyThreadState* thread_ = nullptr;
  unsigned long thread_ident_ = 0;
  WakeSlot* wake_slot_ = nullptr;  ///< where the thread sleeps inside code that Python called
};

}  // namespace erlang_python
