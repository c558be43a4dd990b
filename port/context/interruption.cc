// The parts of Context that watch and interrupt the running request. See docs/design.md, "Interrupts".

#include <pthread.h>

#include <memory>

#include "base/clock.h"
#include "callback/destinations.h"
#include "context/context.h"
#include "context/ticket_type.h"

namespace erlang_python {
namespace {

// An import that is interrupted may leave importlib's locks locked and packages half imported, for all later requests.
// So it may end first, unless that takes so long.
constexpr std::int64_t kImportNs = 2'000 * kNsPerMs;

constexpr std::size_t kInterrupterStackBytes = 512 * 1024;

/// With a GIL: whether the thread is importing a module.
bool is_importing(PyThreadState* thread) {
  auto frame = PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
  while (frame) {
    auto* const of = reinterpret_cast<PyFrameObject*>(frame.get());
    const auto code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(of)));
    PyObject* const file = reinterpret_cast<PyCodeObject*>(code.get())->co_filename;
    if (PyUnicode_CompareWithASCIIString(file, "<frozen importlib._bootstrap>") == 0) return true;
    frame = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(of)));
  }
  return false;
}

}  // namespace

Context::Level& Context::begin(Bytes alias, std::int64_t deadline_ns, const Message* request, bool apart) {
  if (depth_ == levels_.size()) {
    auto level = std::make_unique<Level>(max_reply_bytes(services_.config));
    const std::scoped_lock lock(current_mu_);
    levels_.push_back(std::move(level));
  }
  if (depth_ == (loop_runs_ ? 1U : 0U)) forget_checked_destinations();
  Level& level = *levels_[depth_];
  level.scope = RequestScope{id_, 0, 0, {}, this};
  if (request != nullptr) {
    level.scope.env = request->env;
    level.scope.chain = request->chain;
    level.scope.caller = request->caller;
  }
  level.awaited = 0;
  set_current_scope(&level.scope);
  const std::scoped_lock lock(current_mu_);
  ++depth_;
  level.deadline_ns = deadline_ns;
  level.is_loop = false;
  level.interruption = Interruption::kNone;
  level.wanted = false;
  level.delivered = false;
  level.stuck_reported = false;
  level.apart = apart;
  level.resumed_ns = 0;
  level.patience_ns = 0;
  level.cancelled = false;
  level.has_loop = false;
  level.cancel_ns = 0;
  level.held_ns = 0;
  level.alias.assign(reinterpret_cast<const char*>(alias.data()), alias.size());
  return level;
}

Context::Ended Context::end() {
  if (levels_[depth_ - 1]->watched || (depth_ > 1 && levels_[depth_ - 2]->watched)) {
    levels_[depth_ - 1]->watched.reset();
    mailbox_.watch(depth_ > 1 ? levels_[depth_ - 2]->watched : std::nullopt);
  }
  const std::scoped_lock lock(current_mu_);
  const Level& level = *levels_[--depth_];
  set_current_scope(depth_ == 0 ? nullptr : &levels_[depth_ - 1]->scope);
  if (level.apart && depth_ > 0) {
    const std::int64_t now = now_ns();
    for (std::size_t i = running_from(); i < depth_; ++i) levels_[i]->resumed_ns = now;
  }
  const bool cancelled = level.interruption == Interruption::kNone && level.cancelled;
  const Interruption asked = cancelled ? Interruption::kCancelled : level.interruption;
  if (!level.delivered) return {Interruption::kNone, false, asked};
  // An exception that was set but not raised yet, since no Python code ran after a long C call, must not hit the next
  // request.
  const bool pending = PyThreadState_Get()->async_exc != nullptr;
  if (pending) PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  return {level.interruption, pending, asked};
}

bool Context::interrupt() {
  const std::scoped_lock lock(current_mu_);
  // What has no alias, the end of a namespace, is nobody's request.
  for (std::size_t i = depth_ == 0 ? 0 : running_from(); i < depth_; ++i) {
    if (levels_[i]->alias.empty()) continue;
    interrupt_from(i, Interruption::kRequested, now_ns());
    return true;
  }
  // One that goes on by turns runs, though this may be the moment between two of them.
  bool found = false;
  answer_with_error(
      mailbox_.remove_if([&found](const Request& request) { return request.rest.work && !std::exchange(found, true); }),
      "interrupted");
  if (found) return true;
  if (depth_ == 1 && is_loop(0) && executing()) {
    interrupt_from(0, Interruption::kRequested, now_ns());
    return true;
  }
  return false;
}

void Context::answer_with_error(const std::vector<Request>& requests, std::string_view reason) {
  for (const Request& request : requests) {
    TermWriter out;
    begin_reply(out, request.message.alias, request.message.slot);
    write_error(out, reason);
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
}

bool Context::answer_waiting(Bytes alias, std::string_view reason) {
  const auto waiting = mailbox_.remove_if([alias](const Request& other) {
    const Operation operation = other.message.operation;
    return (operation == Operation::kCall || operation == Operation::kEval || operation == Operation::kExec) &&
           std::ranges::equal(other.message.alias, alias);
  });
  answer_with_error(waiting, reason);
  return !waiting.empty();
}

bool Context::cancel(Request request) {
  if (answer_waiting(request.message.alias, "cancelled")) return false;
  const std::string alias = text_of(request.message.alias);
  const std::scoped_lock lock(current_mu_);
  // From the top: the turn of a stream is a level above its request while that begins.
  for (std::size_t i = depth_; i-- > 0;) {
    if (levels_[i]->alias != alias) continue;
    if (levels_[i]->has_loop) {
      levels_[i]->cancel_ns = now_ns();
      return accept(std::move(request));  // its loop looks at it between two rounds
    }
    cancel_from(i, now_ns());
    return false;
  }
  // One of its steps may hold up the loop.
  if (depth_ > 0 && is_loop(0) && levels_.front()->cancel_ns == 0) levels_.front()->cancel_ns = now_ns();
  // Still under current_mu_: a request that is between the mailbox and its level finds the CANCEL when it begins.
  return accept(std::move(request));
}

bool Context::take_cancel(Bytes alias) {
  if (!mailbox_.has_cancels()) return false;
  return !mailbox_
              .remove_if([alias](const Request& other) {
                return other.message.operation == Operation::kCancel && std::ranges::equal(other.message.alias, alias);
              })
              .empty();
}

bool Context::stop(Request request) {
  stopping_ = true;
  answer_stopped(mailbox_.remove_if([](const Request& waiting) {
    return waiting.message.operation != Operation::kDropEnv && waiting.message.operation != Operation::kStopContext &&
           waiting.message.operation != Operation::kResult;
  }));
  {
    const std::scoped_lock lock(current_mu_);
    const std::int64_t now = now_ns();
    // From here on they are late, whatever their own deadlines: interrupted again and again, and reported as stuck.
    for (std::size_t i = 0; i < depth_; ++i) levels_[i]->deadline_ns = now;
    for (std::size_t i = 0; i < depth_; ++i) {
      if (i == 0 || levels_[i]->apart) interrupt_from(i, Interruption::kStopped, now);
    }
  }
  return accept(std::move(request));
}

void Context::watch(std::int64_t now) {
  const auto late = mailbox_.remove_if(
      [now](const Request& request) { return request.deadline_ns != 0 && now >= request.deadline_ns; });
  counters_.timeouts.fetch_add(late.size(), std::memory_order_relaxed);
  answer_with_error(late, "timeout");
  const std::scoped_lock lock(current_mu_);
  if (depth_ == 0) return;
  // No thread could be had for it a tick ago.
  if (levels_[depth_ - 1]->wanted && interrupters_.load() == 0) start_interrupter();
  const std::int64_t grace_ms = services_.config.hard_timeout_grace_ms;
  if (Level& top = *levels_[depth_ - 1]; is_loop(depth_ - 1) && top.cancel_ns != 0 && executing() &&
                                         now >= std::max(top.cancel_ns, top.resumed_ns) + top.patience_ns) {
    top.cancel_ns = now;
    interrupt_from(0, Interruption::kCancelled, now);
  }
  for (std::size_t i = running_from(); i < depth_; ++i) {
    Level& level = *levels_[i];
    const bool held_up = level.has_loop && level.cancel_ns != 0 && now >= level.cancel_ns + kLoopMayBeLateNs;
    const bool goes_on =
        level.interruption == Interruption::kCancelled && now >= level.interrupted_ns + kInterruptAgainNs;
    if (level.cancelled || held_up || goes_on) cancel_from(i, now);
    std::int64_t& deadline_ns = level.is_loop && depth_ > 1 ? level.step_deadline_ns : level.deadline_ns;
    if (deadline_ns == 0 || now < deadline_ns || now < level.resumed_ns + level.patience_ns) continue;
    if (level.interruption != Interruption::kStopped && !level.is_loop && has_another_chain_above(i)) {
      deadline_ns = now;  // its turn, and its grace, come when those have ended
      continue;
    }
    if (level.interruption == Interruption::kNone || now - level.interrupted_ns >= kInterruptAgainNs) {
      interrupt_from(i, level.interruption == Interruption::kStopped ? Interruption::kStopped : Interruption::kTimeout,
                     now);
    }
    if (grace_ms > 0 && !level.stuck_reported && now >= std::max(deadline_ns, level.resumed_ns) + grace_ms * kNsPerMs) {
      level.stuck_reported = true;
      report_stuck(level.alias);
    }
  }
}

/// Requests of other callers, which the end of this level is no reason to end. Chains do not get newer towards the
/// top. Guarded by current_mu_: the chain of a level with others above it does not change any more.
bool Context::has_another_chain_above(std::size_t index) const {
  return index + 1 < depth_ && levels_[index]->scope.chain != levels_[depth_ - 1]->scope.chain;
}

void Context::report_stuck(const std::string& alias) {
  TermWriter out;
  begin_notice(out, Notice::kStuck, 2);
  out.integer(id_);
  if (alias.empty()) {
    out.atom("none");
  } else {
    out.raw({reinterpret_cast<const std::uint8_t*>(alias.data()), alias.size()});
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

std::size_t Context::running_from() const {
  std::size_t index = depth_ - 1;
  while (index > 0 && !levels_[index]->apart) --index;
  return index;
}

void Context::interrupt_from(std::size_t index, Interruption why, std::int64_t now) {
  for (std::size_t i = index; i < depth_; ++i) {
    Level& level = *levels_[i];
    if (i > index && level.apart) return;  // its turn comes when that has ended: watch() sees to it
    // One that is ending already, since a level below or its caller has ended, is left to its finally blocks.
    const bool ends = level.interruption != Interruption::kNone && now - level.interrupted_ns < kInterruptAgainNs;
    if (ends && (i > index || why == Interruption::kCancelled)) continue;
    level.interrupted_ns = now;
    level.interruption = why;
    level.wanted = true;
  }
  start_interrupter();
  mailbox_.alarm();
}

void Context::cancel_from(std::size_t index, std::int64_t now) {
  levels_[index]->cancel_ns = 0;
  levels_[index]->cancelled = has_another_chain_above(index);
  if (!levels_[index]->cancelled) interrupt_from(index, Interruption::kCancelled, now);
}

void Context::start_interrupter() {
  if (interrupters_.load() != 0) return;  // it looks again, under current_mu_, before it ends
  // Attaching waits for as long as C code holds the GIL, so neither the loop nor another context's interrupt may do it.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kInterrupterStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto self = std::make_unique<std::shared_ptr<Context>>(shared_from_this());
  pthread_t thread{};
  interrupters_.store(1);
  if (pthread_create(&thread, &attributes, interrupter_entry, self.get()) == 0) {
    static_cast<void>(self.release());  // the thread owns it now
  } else {
    interrupters_.store(0);  // watch() tries again
  }
  pthread_attr_destroy(&attributes);
}

bool Context::hold_off(Level& level, bool importing) const {
  const std::int64_t now = now_ns();
  if (!importing) {
    level.held_ns = 0;
    return false;
  }
  if (level.held_ns == 0) level.held_ns = now;
  const std::int64_t grace_ns = services_.config.hard_timeout_grace_ms * kNsPerMs;
  return now - level.held_ns < (grace_ns == 0 ? kImportNs : std::min(kImportNs, grace_ns / 2));
}

std::shared_ptr<Ticket> Context::running_ticket() const {
  return erlang_module_ ? ticket_in(erlang_module_.get(), thread_state_->context) : nullptr;
}

Interruption Context::reason_for(const Ticket& ticket) const {
  const Interruption wanted = levels_.front()->interruption;
  // What its request has left behind is nobody's, and may not hold up the others.
  if (wanted == Interruption::kStopped || wanted == Interruption::kRequested || ticket.answered) return wanted;
  const std::int64_t now = now_ns();
  if (ticket.told_ns != 0 && now - ticket.told_ns < kInterruptAgainNs) return Interruption::kNone;
  if (ticket.deadline_ns != 0 && now >= ticket.deadline_ns) return Interruption::kTimeout;
  const bool cancelled = ticket.why == Interruption::kCancelled || mailbox_.any([&](const Request& request) {
    return request.message.operation == Operation::kCancel && text_of(request.message.alias) == ticket.alias;
  });
  return cancelled ? Interruption::kCancelled : Interruption::kNone;
}

void* Context::interrupter_entry(void* argument) {
  const std::unique_ptr<std::shared_ptr<Context>> self(static_cast<std::shared_ptr<Context>*>(argument));
  (*self)->deliver_interrupts();
  return nullptr;
}

void Context::deliver_interrupts() {
  for (;;) {
    PyInterpreterState* interpreter = nullptr;
    {
      const std::scoped_lock lock(current_mu_);
      if (depth_ > 0 && levels_[depth_ - 1]->wanted) interpreter = interpreter_state_;
      if (interpreter == nullptr) {
        interrupters_.store(0);
        break;
      }
    }
    PyThreadState* state = PyThreadState_New(interpreter);
    if (state == nullptr) continue;
    PyEval_RestoreThread(state);
    bool held = false;
    {
      const auto ticket = running_ticket();
      const bool importing = is_importing(thread_state_);
      const std::scoped_lock lock(current_mu_);
      if (depth_ > 0 && levels_[depth_ - 1]->wanted) {
        Level& level = *levels_[depth_ - 1];
        held = hold_off(level, importing);
        level.wanted = held;
        if (held) {
          // watch() sends another interrupter.
        } else if (is_loop(depth_ - 1) && level.interruption != Interruption::kStopped &&
                   (!ticket || reason_for(*ticket) == Interruption::kNone)) {
          // Others wait for it, but that is no fault of its own.
          level.interruption = Interruption::kNone;
          level.resumed_ns = now_ns();
        } else {
          if (ticket && is_loop(depth_ - 1)) {
            ticket->interrupted = true;
            if (ticket->why == Interruption::kNone) ticket->why = reason_for(*ticket);
            ticket->told_ns = now_ns();
          }
          level.delivered = true;
          PyThreadState_SetAsyncExc(thread_ident_, PyExc_KeyboardInterrupt);
          wake_slot_->wake();
        }
      }
    }
    if (!held) mailbox_.alarm();
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    if (held) {
      const std::scoped_lock lock(current_mu_);
      interrupters_.store(0);
      break;
    }
  }
  interrupters_.notify_all();
}

}  // namespace erlang_python
