// The part of Context that runs its event loop, and serves requests between the loop's rounds. See docs/design.md,
// "Event loops".

#include <utility>
#include <vector>

#include "base/clock.h"
#include "context/context.h"
#include "python/fresh_stack.h"

namespace erlang_python {
namespace {

// How long requests are served before the loop has its turn again.
constexpr std::int64_t kTurnNs = kNsPerMs;

}  // namespace

void Context::run_loop() {
  services_.census.enter();
  enter_python();
  erlang_module_ = PyRef::steal(PyImport_ImportModule("_erlang"));
  Level& level = begin({}, 0);
  level.scope.tasks = true;
  {
    const std::scoped_lock lock(current_mu_);
    level.patience_ns = kLoopMayBeLateNs;
  }
  loop_runs_ = true;
  first_round_ = true;
  watch_task_deadlines();
  auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
  remind_late_tasks();
  auto ended = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "run", nullptr)) : PyRef();
  // An interrupt that hit the loop itself, between tasks, is over; whatever else ends it is worth a line.
  if (!ended && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) == 0) PyErr_WriteUnraisable(tasks.get());
  PyErr_Clear();
  loop_runs_ = false;
  static_cast<void>(end());
  erlang_module_ = PyRef();
  leave_python();
  services_.census.leave();
}

/// The interrupt that has ended the loop the last time may have hit what was about to tell them.
void Context::remind_late_tasks() {
  const std::int64_t now = now_ns();
  std::vector<std::shared_ptr<Ticket>> late;
  for (const auto& entry : tickets_) {
    if (entry.second->deadline_ns != 0 && now >= entry.second->deadline_ns) late.push_back(entry.second);
  }
  for (const auto& ticket : late) tell_task("expire", ticket);
}

/// What is served now: everything, between the rounds of the context's own loop; for a loop that a request runs, what
/// its call chain may ask for.
Wanted Context::wanted_by_loop() const {
  if (loop_runs_ && depth_ == 1) return {};
  return {true, levels_[depth_ - 1]->scope.chain};
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
    if (services_.writer.congested()) {
      interpreter_->detach();
      services_.writer.wait_for_room();
      interpreter_->attach();
    }
    if (now_ns() >= until) break;
  }
  if (stopped_ && loop_runs_) stop_loop();
  return served;
}

/// Coroutines are started on the loop between whose rounds we are; other requests do not see that there is one.
bool Context::starts_on_loop(const Request& request) const {
  return loop_runs_ && depth_ == 1 && (request.message.flags & (kTask | kStream)) != 0;
}

void Context::between_rounds() {
  // The task that the loop was started for has its first step before anything that came after it.
  if (std::exchange(first_round_, false)) return;
  if (depth_ > 0) static_cast<void>(serve_mail(wanted_by_loop()));
}

void Context::sleep(Waiter& waiter, std::int64_t deadline_ns) {
  if (depth_ == 0) {
    // In the clearing up of the context: nothing is served any more.
    Py_BEGIN_ALLOW_THREADS;
    waiter.sleep(deadline_ns);
    Py_END_ALLOW_THREADS;
    return;
  }
  // The interrupt that comes with a STOP_CONTEXT may have hit stop_loop() itself.
  if (stopped_ && loop_runs_) return stop_loop();
  const Wanted wanted = wanted_by_loop();
  if (serve_mail(wanted)) return;
  const bool idle = loop_runs_ && depth_ == 1;
  if (idle) {
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

int Context::watch_mail(bool on) {
  if (depth_ == 0) return -1;
  Level& level = *levels_[depth_ - 1];
  level.watched.reset();
  if (on) level.watched = {true, chain_of(level.scope, false)};
  mailbox_.watch(level.watched);
  return on ? mailbox_.fd() : -1;
}

void Context::serve_watched() {
  if (depth_ == 0) return;
  const auto watched = levels_[depth_ - 1]->watched;
  mailbox_.hush();
  if (!watched) return;
  static_cast<void>(serve_mail(*watched));
  if (mailbox_.has(*watched)) mailbox_.wake();  // its turn was over
}

void Context::stop_loop() {
  auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
  const auto stopped = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "stop", nullptr)) : PyRef();
  if (!stopped) PyErr_Clear();
}

}  // namespace erlang_python
