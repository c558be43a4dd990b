// The part of Context that waits for a callback, and serves what the callback asks for meanwhile. See docs/design.md,
// "Callbacks".

#include <algorithm>
#include <limits>

#include "context/context.h"
#include "python/fresh_stack.h"

namespace erlang_python {

/// What waits on top of the event loop keeps its tasks from going on, so it waits for theirs as well as for its own:
/// its callback belongs to the oldest of their chains when that is older, and is served where that is.
std::uint64_t Context::chain_of(RequestScope& scope, bool waits) {
  if (scope.chain == 0) scope.chain = services_.callbacks.new_chain();
  const bool loop_goes_on = !waits && depth_ == 1;
  return !loop_runs_ || loop_goes_on ? scope.chain : std::min(scope.chain, oldest_task_chain());
}

std::uint64_t Context::oldest_task_chain() const {
  std::uint64_t oldest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& entry : tickets_) {
    if (entry.second->scope.chain != 0) oldest = std::min(oldest, entry.second->scope.chain);
  }
  return oldest;
}

std::optional<Answer> Context::await_result(std::uint64_t id, std::uint64_t chain) {
  if (raise_if_pending()) return std::nullopt;
  Level& level = *levels_[depth_ - 1];
  level.awaited = id;
  level.early_answer.reset();
  const bool steps = is_loop(depth_ - 1) || level.has_loop;
  if (steps) begin_step_wait(level);
  // So chains only get older from the bottom of the stack to its top: a level waits for those above it as well, and
  // must not wait for a newer chain.
  const Wanted wanted{true, chain};
  bool interrupted = false;
  interpreter_->detach();
  services_.census.leave();
  while (!level.early_answer) {
    if (level.step_ends || interrupted_while_waiting()) {
      interrupted = true;
      break;
    }
    auto request = mailbox_.pop(wanted);
    if (!request) {
      await_mail(wanted);
    } else if (request->message.operation == Operation::kResult) {
      take_result(std::move(*request));
    } else {
      services_.census.enter();
      interpreter_->attach();
      {
        const FreshStack fresh;
        execute(*request);
      }
      interpreter_->detach();
      services_.census.leave();
      if (services_.writer.congested()) services_.writer.wait_for_room();
    }
  }
  // Also when the answer has come: better here than a moment later, in the finally block that an error leads to.
  interrupted = interrupted || level.step_ends || interrupted_while_waiting();
  services_.census.enter();
  interpreter_->attach();
  level.awaited = 0;
  if (steps) {
    level.step.reset();
    level.step_ends = false;
  }
  if (!interrupted && PyThreadState_Get()->async_exc == nullptr) {
    return std::exchange(level.early_answer, std::nullopt);
  }
  PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return std::nullopt;
}

/// On a loop: what this step waits for is late when its request is, whatever others wait for.
void Context::begin_step_wait(Level& loop) {
  const auto own = loop.has_loop ? tickets_.find(loop.alias) : tickets_.end();
  loop.step = own != tickets_.end() ? own->second : running_ticket();
  const std::scoped_lock lock(current_mu_);
  loop.step_deadline_ns = loop.step ? loop.step->deadline_ns : 0;
}

/// Kept for the level that waits for it, which need not be the topmost: requests of an older chain may run above.
void Context::take_result(Request result) {
  for (std::size_t i = 0; i < depth_; ++i) {
    Level& level = *levels_[i];
    if (level.awaited != result.message.callback) continue;
    level.early_answer = Answer{std::move(result.frame), result.message.body};
    return;
  }
}

/// Detached. True when the waiting level is to end now.
bool Context::interrupted_while_waiting() {
  const bool alarmed = mailbox_.take_alarm();
  {
    const std::scoped_lock lock(current_mu_);
    Level& level = *levels_[depth_ - 1];
    // Of the loop only the interrupter knows whether this step is meant.
    if (level.wanted && !is_loop(depth_ - 1)) {
      level.wanted = false;
      level.delivered = true;
      return true;
    }
  }
  if (!alarmed) return false;
  // The interrupter may have been faster, and set the exception in this thread.
  interpreter_->attach();
  const bool pending = PyThreadState_Get()->async_exc != nullptr;
  interpreter_->detach();
  return pending;
}

/// Attached. An exception that was set while Python called us is raised here instead of after the wait.
bool Context::raise_if_pending() {
  if (PyThreadState_Get()->async_exc == nullptr) return false;
  PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return true;
}

}  // namespace erlang_python
