// See docs/design.md, "The request stack" and "Interrupts".
#include "context/interrupter.h"

#include "base/detached_thread.h"
#include "context/ticket.h"
#include "python/standing_thread.h"

namespace erlang_python {
namespace {

constexpr std::size_t kStackBytes = 512 * 1024;

}  // namespace

Interrupter::Interrupter(ContextId id, Mailbox& mailbox, Services& services)
    : id_(id), mailbox_(mailbox), services_(services), stack_(services.config.hard_timeout_grace_ms * kNsPerMs) {}

void Interrupter::open(const Interpreter& interpreter, const RunningSteps& steps) {
  steps_ = &steps;
  thread_ = interpreter.thread_state();
  thread_ident_ = interpreter.thread_ident();
  wake_slot_ = &WakeSlot::of_this_thread();
  const MutexLock lock(mu_);
  interpreter_ = interpreter.state();
}

void Interrupter::close() {
  {
    const MutexLock lock(mu_);
    interpreter_ = nullptr;
  }
  while (threads_.load() != 0) threads_.wait(1);
}

bool Interrupter::take_pending() {
  if (PyThreadState_Get()->async_exc == nullptr) return false;
  PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  return true;
}

bool Interrupter::interrupts_wait() {
  const bool alarmed = mailbox_.take_alarm();
  if (stack()->take_due()) return true;
  if (!alarmed) return false;
  // The interrupter may have been faster, and set the exception in this thread.
  PyEval_RestoreThread(thread_);
  const bool pending = thread_->async_exc != nullptr;
  PyEval_SaveThread();
  return pending;
}

Escalation& Interrupter::Locked::ending(Ticket& ticket) const { return ticket.ending_; }

void Interrupter::tick(bool executing, std::int64_t now) {
  auto stack = this->stack();
  // No thread could be had for it a tick ago, or an import was to end first.
  if (stack->due() && threads_.load() == 0) start();
  stack->tick(executing, now, stack.effects);
}

void Interrupter::act(const RequestStack::Effects& effects) {
  for (const RequestStack::Effect& effect : effects) {
    if (effect.kind == RequestStack::Effect::Kind::kStuck) {
      announce_stuck(stack_.alias(effect.index));
      continue;
    }
    start();
    mailbox_.alarm();
  }
}

void Interrupter::announce_stuck(std::string_view alias) {
  TermWriter out;
  begin_notice(out, Notice::kStuck, 2);
  out.integer(id_);
  if (alias.empty()) {
    out.atom("none");
  } else {
    out.raw(bytes_of(alias));
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Interrupter::start() {
  if (threads_.load() != 0) return;  // it looks again, under mu_, before it ends
  threads_.store(1);
  const bool started = start_detached_thread("py_interrupt", kStackBytes, [self = shared_from_this()] { self->run(); });
  if (!started) threads_.store(0);  // tick() tries again
}

void Interrupter::run() {
  while (interrupt_once()) {
  }
  threads_.notify_all();
}

bool Interrupter::interrupt_once() {
  PyInterpreterState* interpreter = nullptr;
  {
    const MutexLock lock(mu_);
    if (stack_.due()) interpreter = interpreter_;
    if (interpreter == nullptr) {
      threads_.store(0);
      return false;
    }
  }
  PyThreadState* state = PyThreadState_New(interpreter);
  if (state == nullptr) return true;
  PyEval_RestoreThread(state);
  bool later = false;
  {
    const auto step = kThreadStands ? steps_->running_step(thread_->context) : nullptr;
    const auto origin = kThreadStands ? steps_->origin_of_top(step.get()) : nullptr;
    const bool importing = kThreadStands && is_importing(thread_);
    const MutexLock lock(mu_);
    const auto delivery = deliver(step, importing);
    later = delivery == RequestStack::Delivery::kLater;
    if (delivery == RequestStack::Delivery::kRaise) {
      PyThreadState_SetAsyncExc(thread_ident_, PyExc_KeyboardInterrupt);
      wake_slot_->wake();
      // It may wait for one of its threads, where the exception does not reach it.
      if (origin) origin->tell();
    }
  }
  if (!later) mailbox_.alarm();
  PyThreadState_Clear(state);
  PyThreadState_DeleteCurrent();
  if (!later) return true;
  const MutexLock lock(mu_);
  threads_.store(0);  // tick() sends another one
  return false;
}

RequestStack::Delivery Interrupter::deliver(const std::shared_ptr<Ticket>& step, bool importing) {
  if (!step || !stack_.due()) return stack_.deliver(importing, nullptr, now_ns());
  const bool cancel_waits = mailbox_.any([&](const Request& request) {
    return request.message.operation == Operation::kCancel && text_of(request.message.alias) == step->alias;
  });
  const RequestStack::Step running{step->ending_, step->deadline_ns, step->answered, cancel_waits};
  return stack_.deliver(importing, &running, now_ns());
}

}  // namespace erlang_python
