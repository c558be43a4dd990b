// The parts of Context that watch and interrupt the running request. See docs/design.md, "Interrupts".

#include <pthread.h>

#include <memory>

#include "base/clock.h"
#include "callback/destinations.h"
#include "context/context.h"

namespace erlang_python {
namespace {

// A request that catches KeyboardInterrupt and goes on gets it again.
constexpr std::int64_t kInterruptAgainNs = 1'000 * kNsPerMs;

constexpr std::size_t kInterrupterStackBytes = 512 * 1024;

}  // namespace

Context::Level& Context::begin(Bytes alias, std::int64_t deadline_ns, const Message* request) {
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
  level.alias.assign(reinterpret_cast<const char*>(alias.data()), alias.size());
  return level;
}

Context::Ended Context::end() {
  const std::scoped_lock lock(current_mu_);
  const Level& level = *levels_[--depth_];
  set_current_scope(depth_ == 0 ? nullptr : &levels_[depth_ - 1]->scope);
  if (!level.delivered) return {Interruption::kNone, false, level.interruption};
  // An exception that was set but not raised yet, since no Python code ran after a long C call, must not hit the next
  // request.
  const bool pending = PyThreadState_Get()->async_exc != nullptr;
  if (pending) PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  return {level.interruption, pending, level.interruption};
}

bool Context::interrupt() {
  const std::scoped_lock lock(current_mu_);
  // What has no alias, the end of a namespace, is nobody's request.
  for (std::size_t i = 0; i < depth_; ++i) {
    if (levels_[i]->alias.empty()) continue;
    interrupt_from(i, Interruption::kRequested, now_ns());
    return true;
  }
  return false;
}

bool Context::cancel(Request request) {
  const std::string alias = text_of(request.message.alias);
  const auto waiting = mailbox_.remove_if([&](const Request& other) {
    const Operation operation = other.message.operation;
    return (operation == Operation::kCall || operation == Operation::kEval || operation == Operation::kExec) &&
           text_of(other.message.alias) == alias;
  });
  for (const Request& removed : waiting) {
    TermWriter out;
    begin_reply(out, removed.message.alias, removed.message.slot);
    write_error(out, "cancelled");
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
  if (!waiting.empty()) return false;
  {
    const std::scoped_lock lock(current_mu_);
    for (std::size_t i = 0; i < depth_; ++i) {
      if (levels_[i]->alias != alias) continue;
      interrupt_from(i, Interruption::kCancelled, now_ns());
      return false;
    }
  }
  return accept(std::move(request));
}

bool Context::stop(Request request) {
  stopping_ = true;
  answer_stopped(mailbox_.remove_if([](const Request& waiting) {
    return waiting.message.operation != Operation::kDropEnv && waiting.message.operation != Operation::kStopContext;
  }));
  {
    const std::scoped_lock lock(current_mu_);
    const std::int64_t now = now_ns();
    // From here on they are late, whatever their own deadlines: interrupted again and again, and reported as stuck.
    for (std::size_t i = 0; i < depth_; ++i) levels_[i]->deadline_ns = now;
    if (depth_ > 0) interrupt_from(0, Interruption::kStopped, now);
  }
  return accept(std::move(request));
}

void Context::watch(std::int64_t now) {
  for (const Request& late : mailbox_.remove_if(
           [now](const Request& request) { return request.deadline_ns != 0 && now >= request.deadline_ns; })) {
    counters_.timeouts.fetch_add(1, std::memory_order_relaxed);
    TermWriter out;
    begin_reply(out, late.message.alias, late.message.slot);
    write_error(out, "timeout");
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
  const std::scoped_lock lock(current_mu_);
  if (depth_ == 0) return;
  // No thread could be had for it a tick ago.
  if (levels_[depth_ - 1]->wanted && interrupters_.load() == 0) start_interrupter();
  const std::int64_t grace_ms = services_.config.hard_timeout_grace_ms;
  for (std::size_t i = 0; i < depth_; ++i) {
    Level& level = *levels_[i];
    if (level.deadline_ns == 0 || now < level.deadline_ns) continue;
    // A loop is late because of a task; a request that is served between its rounds has a deadline of its own.
    if (level.is_loop && i + 1 < depth_) continue;
    if (level.interruption != Interruption::kStopped && has_another_chain_above(i)) {
      level.deadline_ns = now;  // its turn, and its grace, come when those have ended
      continue;
    }
    if (level.interruption == Interruption::kNone || now - level.interrupted_ns >= kInterruptAgainNs) {
      interrupt_from(i, level.interruption == Interruption::kStopped ? Interruption::kStopped : Interruption::kTimeout,
                     now);
    }
    if (grace_ms > 0 && !level.stuck_reported && now >= level.deadline_ns + grace_ms * kNsPerMs) {
      level.stuck_reported = true;
      report_stuck(level);
    }
  }
}

/// Requests of other callers, which a deadline of this level is no reason to end. Chains do not get newer towards the
/// top. Guarded by current_mu_: the chain of a level with others above it does not change any more.
bool Context::has_another_chain_above(std::size_t index) const {
  return index + 1 < depth_ && levels_[index]->scope.chain != levels_[depth_ - 1]->scope.chain;
}

void Context::report_stuck(const Level& level) {
  TermWriter out;
  begin_notice(out, Notice::kStuck, 2);
  out.integer(id_);
  if (level.alias.empty()) {
    out.atom("none");
  } else {
    out.raw({reinterpret_cast<const std::uint8_t*>(level.alias.data()), level.alias.size()});
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Context::interrupt_from(std::size_t index, Interruption why, std::int64_t now) {
  for (std::size_t i = index; i < depth_; ++i) {
    Level& level = *levels_[i];
    level.interrupted_ns = now;
    level.interruption = why;
    level.wanted = true;
  }
  start_interrupter();
  mailbox_.alarm();
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
    {
      const std::scoped_lock lock(current_mu_);
      if (depth_ > 0 && levels_[depth_ - 1]->wanted) {
        levels_[depth_ - 1]->wanted = false;
        levels_[depth_ - 1]->delivered = true;
        PyThreadState_SetAsyncExc(thread_ident_, PyExc_KeyboardInterrupt);
        wake_slot_->wake();
      }
    }
    mailbox_.alarm();
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
  }
  interrupters_.notify_all();
}

}  // namespace erlang_python
