// The part of Context that runs its event loop, and serves requests between the loop's rounds. See docs/design.md,
// "Event loops".

#include <utility>

#include "base/clock.h"
#include "context/context.h"
#include "context/ticket_type.h"
#include "python/fresh_stack.h"

namespace erlang_python {
namespace {

// How long requests are served before the loop has its turn again.
constexpr std::int64_t kTurnNs = kNsPerMs;

}  // namespace

void Context::run_loop() {
  services_.census.enter();
  enter_python();
  {
    const Running loop(levels_, {.loop = RequestStack::Loop::kContext});
    first_round_ = true;
    if (!tasks_.run_loop()) ++loop_failures_;
  }
  leave_python();
  services_.census.leave();
}

/// What is served now: everything, between the rounds of the context's own loop; for a loop that a request runs, what
/// its call chain may ask for.
Wanted Context::wanted_by_loop() const {
  if (levels_.only_loop()) return {};
  return {true, levels_.top().scope.chain};
}

bool Context::serve_mail(const Wanted& wanted) {
  if (!mailbox_.has(wanted)) return false;
  static_cast<void>(mailbox_.take_alarm());
  bool served = false;
  const std::int64_t until = now_ns() + kTurnNs;
  while (!stopped_) {
    auto request = mailbox_.pop(wanted);
    if (!request) break;
    served = true;
    if (request->message.operation == Operation::kResult) {
      take_result(std::move(*request));
    } else {
      const FreshStack fresh(!starts_on_loop(*request));
      execute(*request, !wanted.nested_only);
    }
    wait_for_room();
    if (now_ns() >= until) break;
  }
  if (stopped_ && levels_.on_loop()) tasks_.stop_loop();
  return served;
}

/// Coroutines are started on the loop between whose rounds we are; other requests do not see that there is one.
bool Context::starts_on_loop(const Request& request) const {
  return levels_.only_loop() && (request.message.flags & (kTask | kStream)) != 0;
}

void Context::between_rounds() {
  // The task that the loop was started for has its first step before anything that came after it.
  if (std::exchange(first_round_, false)) return;
  if (!levels_.empty()) static_cast<void>(serve_mail(wanted_by_loop()));
}

void Context::sleep(Waiter& waiter, std::int64_t deadline_ns) {
  if (levels_.empty()) {
    // In the clearing up of the context: nothing is served any more.
    Py_BEGIN_ALLOW_THREADS;
    waiter.sleep(deadline_ns);
    Py_END_ALLOW_THREADS;
    return;
  }
  // The interrupt that comes with a STOP_CONTEXT may have hit stop_loop() itself.
  if (stopped_ && levels_.on_loop()) return tasks_.stop_loop();
  const Wanted wanted = wanted_by_loop();
  if (serve_mail(wanted)) return;
  const bool idle = levels_.only_loop();
  if (idle) {
    loop_failures_ = 0;
    leave_python();
  } else {
    interpreter_->detach();
  }
  services_.census.leave();
  const Waiter::Place place = waiter.enter_sleep(deadline_ns);
  if (place.fd >= 0) await_mail(wanted, {-1, place.fd, place.timeout_ms});
  waiter.leave_sleep();
  services_.census.enter();
  if (idle) {
    enter_python();
  } else {
    interpreter_->attach();
  }
  static_cast<void>(serve_mail(wanted));
}

/// A task that came here from the loop of another context, whose thread waits for the callbacks of its own requests, is
/// nobody's.
RequestScope* Context::scope_now(RequestScope& scope, PyObject* module) {
  Ticket* const ticket = current_ticket(module);
  return ticket != nullptr && ticket->scope.waiter == this ? &ticket->scope : &scope;
}

int Context::watch_mail(bool on) {
  if (levels_.empty()) return -1;
  Level& level = levels_.top();
  level.watched.reset();
  if (on) level.watched = {true, chain_of(level.scope, false)};
  mailbox_.watch(level.watched);
  return on ? mailbox_.fd() : -1;
}

void Context::serve_watched() {
  if (levels_.empty()) return;
  const auto watched = levels_.top().watched;
  mailbox_.hush();
  if (!watched) return;
  static_cast<void>(serve_mail(*watched));
  if (mailbox_.has(*watched)) mailbox_.wake();  // its turn was over
}

}  // namespace erlang_python
