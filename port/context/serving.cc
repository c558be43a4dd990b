// The part of Context that takes requests from the mailbox, and waits for them: it reads stdin, or sleeps. See
// docs/design.md, "Leader and followers".

#include <poll.h>

#include "base/clock.h"
#include "context/answers.h"
#include "context/context.h"

namespace erlang_python {
namespace {

constexpr int kLoopRetryMs = 20;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool is_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace

void Context::serve() {
  while (!stopped_) {
    run_waiting();
    if (stopped_) return;
    if (!tasks_.any_yet()) {
      await_mail({});
      continue;
    }
    if (loop_is_broken()) await_mail({}, {-1, -1, kLoopRetryMs});
    run_loop();
  }
}

void Context::run_waiting() {
  if (mailbox_.empty()) return;
  services_.census.enter();
  enter_python();
  while (!stopped_ && (!tasks_.any_yet() || loop_is_broken())) {
    auto request = mailbox_.pop();
    if (!request) break;
    execute(*request);
    wait_for_room();
  }
  leave_python();
  services_.census.leave();
}

void Context::execute(Request& request, bool apart) {
  const Message& message = request.message;
  if (request.is_husk()) return runner_.forget(request.rest, apart);
  switch (message.operation) {
    case Operation::kDropEnv:
      return runner_.drop_env(message.env, apart);
    case Operation::kStopContext:
      stop_alias_ = text_of(message.alias);
      stopped_ = true;
      return;
    case Operation::kResult:
      return;  // of a callback that was given up
    case Operation::kCancel:
      // A request that was about to give way when the CANCEL came is back in the mailbox.
      if (answer_waiting(services_.writer, mailbox_, message.alias, "cancelled")) return;
      return tasks_.cancel(text_of(message.alias), Interruption::kCancelled);
    case Operation::kCredit:
      return tasks_.take_credit(request);
    case Operation::kCheck:
      return runner_.check(request, loop_is_broken(), apart);
    default:
      return runner_.run(request, apart);
  }
}

void Context::wait_for_room() {
  if (!services_.writer.congested()) return;
  interpreter_->detach();
  services_.writer.wait_for_room();
  interpreter_->attach();
}

void Context::enter_python() {
  executing_.store(true, std::memory_order_seq_cst);
  services_.ticker.ensure_armed();
  interpreter_->attach();
}

void Context::leave_python() {
  interpreter_->detach();
  executing_.store(false, std::memory_order_seq_cst);
}

void Context::await_mail(const Wanted& wanted, const Sleep& how) {
  if (services_.reader.leadership().try_lead(id_)) {
    lead(wanted, how);
  } else {
    mailbox_.sleep(how, wanted);
  }
}

void Context::stop_leading() {
  services_.reader.leadership().begin_running(id_);
  services_.ticker.ensure_armed();
  services_.census.leave();
}

void Context::lead(const Wanted& wanted, const Sleep& how) {
  Leadership& leadership = services_.reader.leadership();
  services_.census.enter();
  std::int64_t waiting_since = 0;
  bool spinning = false;
  for (;;) {
    if (mailbox_.has(wanted)) {
      // Left here by the reader before, between this context's last look at its mailbox and its taking the lead: it
      // was awake, so nobody wakes it.
      return stop_leading();
    }
    batch_.clear();
    services_.reader.read_once(services_.dispatcher, id_, batch_);
    if (batch_.any) {
      if (spinning) spin_.found_while_spinning();
      waiting_since = 0;
      spinning = false;
      if (batch_.own || !batch_.asleep.empty()) {
        // Leadership follows the traffic: with nothing for this context it goes to the first that was woken.
        leadership.begin_running(batch_.own ? id_ : batch_.asleep.front()->context());
        services_.ticker.ensure_armed();
        for (const auto& sleeper : batch_.asleep) sleeper->wake();
        batch_.clear();
        services_.census.leave();
        return;
      }
      continue;
    }
    if (how.loop_fd >= 0 && is_readable(how.loop_fd)) {
      return stop_leading();
    }
    const std::int64_t now = now_ns();
    if (waiting_since == 0) waiting_since = now;
    if (spin_.worth_it() && services_.census.core_to_spare() && now - waiting_since < SpinPolicy::kSpinNs) {
      spinning = true;
      pause_cpu();
      continue;
    }
    spinning = false;
    services_.census.leave();
    const bool bounded = how.timeout_ms >= 0;
    mailbox_.sleep({services_.reader.fd(), how.loop_fd, how.timeout_ms}, wanted);
    services_.census.enter();
    spin_.slept(now_ns() - waiting_since);
    waiting_since = 0;
    if (bounded) {
      return stop_leading();
    }
  }
}

}  // namespace erlang_python
