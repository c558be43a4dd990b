// Where everything that runs in a context begins and ends.
#include "context/levels.h"

#include <utility>

#include "base/clock.h"
#include "callback/destinations.h"
#include "context/answers.h"

namespace erlang_python {

const RequestScope* Levels::scope_below() const {
  if (depth() < 2 || interrupter_.entries().is_apart(depth() - 1)) return nullptr;
  const Level& below = *levels_[depth() - 2];
  const RequestScope& waiting = below.step ? below.step->scope : below.scope;
  return top().scope.chain == waiting.chain ? &waiting : nullptr;
}

Level& Levels::begin(const RequestStack::Begin& entry, const Message* request) {
  if (depth() == levels_.size()) levels_.push_back(std::make_unique<Level>(reply_limits(services_.config)));
  if (depth() == interrupter_.entries().ground()) forget_checked_destinations();
  Level& level = *levels_[depth()];
  level.scope = {.context = id_, .chain = entry.chain, .waiter = &waiter_};
  if (request != nullptr) {
    level.scope.env = request->env;
    level.scope.caller = request->caller;
    level.scope.nesting = services_.callbacks.nesting_of(request->chain);
  }
  level.scope.varies = entry.loop == RequestStack::Loop::kContext;
  level.awaited = 0;
  set_current_scope(&level.scope);
  auto stack = interrupter_.stack();
  // An exception that was set for the level below and has not been raised yet must not hit this one.
  if (stack->delivered() && interrupter_.take_pending()) stack->put_off();
  stack->begin(entry);
  return level;
}

Ended Levels::end() {
  const std::shared_ptr<Origin> origin = std::exchange(top().scope.origin, nullptr);
  Level* const below = depth() > 1 ? levels_[depth() - 2].get() : nullptr;
  if (top().watched || (below != nullptr && below->watched)) {
    top().watched.reset();
    mailbox_.watch(below != nullptr ? below->watched : std::nullopt);
  }
  set_current_scope(below != nullptr ? &below->scope : nullptr);
  const std::int64_t now = interrupter_.entries().is_apart(depth() - 1) ? now_ns() : 0;
  auto stack = interrupter_.stack();
  const RequestStack::Ended ended = stack->end(now);
  // An exception that was set but not raised yet, since no Python code ran after a long C call, must not hit the next
  // request.
  const bool pending = ended.delivered && interrupter_.take_pending();
  return {ended.why(), pending, ended.asked};
}

}  // namespace erlang_python
