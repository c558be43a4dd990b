// The part of Context that waits for a callback, and serves what the callback asks for meanwhile. See docs/design.md,
// "Callbacks".

#include <algorithm>
#include <utility>

#include "context/context.h"
#include "python/fresh_stack.h"

namespace erlang_python {

/// What waits on top of the event loop keeps its tasks from going on, so it waits for theirs as well as for its own:
/// its callback belongs to the oldest of their chains when that is older, and is served where that is.
std::uint64_t Context::chain_of(RequestScope& scope, bool waits) {
  if (scope.chain == 0) {
    const std::uint64_t fresh = services_.callbacks.new_chain();
    scope.chain = scope.origin ? scope.origin->chain_or(fresh) : fresh;
    interrupter_->stack()->set_chain(levels_.top().scope.chain);
  }
  const bool loop_goes_on = !waits && levels_.depth() == 1;
  return !levels_.on_loop() || loop_goes_on ? scope.chain : std::min(scope.chain, tasks_.oldest_chain());
}

std::optional<Answer> Context::await_result(std::uint64_t id, std::uint64_t chain) {
  // An exception that was set while Python called us is raised here instead of after the wait.
  if (interrupter_->take_pending()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return std::nullopt;
  }
  Level& level = levels_.top();
  level.awaited = id;
  level.early_answer.reset();
  const bool steps = levels_.top_has_loop();
  if (steps) {
    level.step = tasks_.step_of_top();
    interrupter_->stack()->step_waits(level.step ? level.step->deadline_ns : 0);
  }
  // So chains only get older from the bottom of the stack to its top: a level waits for those above it as well, and
  // must not wait for a newer chain.
  const Wanted wanted{true, chain};
  bool interrupted = false;
  interpreter_->detach();
  services_.census.leave();
  while (!level.early_answer) {
    if (level.step_ends || interrupter_->interrupts_wait()) {
      interrupted = true;
      break;
    }
    auto request = mailbox_.pop(wanted);
    if (!request) {
      await_mail(wanted);
    } else if (request->message.operation == Operation::kResult) {
      take_result(std::move(*request));
    } else {
      serve_nested(*request);
    }
  }
  // Also when the answer has come: better here than a moment later, in the finally block that an error leads to.
  interrupted = interrupted || level.step_ends || interrupter_->interrupts_wait();
  services_.census.enter();
  interpreter_->attach();
  level.awaited = 0;
  if (steps) {
    level.step.reset();
    level.step_ends = false;
    interrupter_->stack()->step_waits(0);
  }
  const bool pending = interrupter_->take_pending();
  if (!interrupted && !pending) return std::exchange(level.early_answer, std::nullopt);
  if (level.scope.origin) level.scope.origin->tell();
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return std::nullopt;
}

/// Detached, as the wait.
void Context::serve_nested(Request& request) {
  services_.census.enter();
  interpreter_->attach();
  {
    const FreshStack fresh;
    execute(request);
  }
  interpreter_->detach();
  services_.census.leave();
  if (services_.writer.congested()) services_.writer.wait_for_room();
}

/// Kept for the level that waits for it, which need not be the topmost: requests of an older chain may run above.
void Context::take_result(Request result) {
  for (std::size_t i = 0; i < levels_.depth(); ++i) {
    Level& level = levels_.at(i);
    if (level.awaited != result.message.callback) continue;
    level.early_answer = Answer{std::move(result.frame), result.message.body};
    return;
  }
}

}  // namespace erlang_python
