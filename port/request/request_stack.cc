#include "request/request_stack.h"

#include <algorithm>

#include "base/chain.h"

namespace erlang_python {
namespace {

// An import that is interrupted may leave importlib's locks locked and packages half imported, for all later requests.
// So it may end first, unless that takes so long.
constexpr std::int64_t kImportNs = 2'000 * kNsPerMs;

}  // namespace

Interruption RequestStack::reason_to_fail() const {
  for (std::size_t i = depth_; i-- > 0;) {
    const Interruption why = entries_[i].ending.reason();
    // That the loop is held up is no matter of a task: it would have been told.
    if (why != Interruption::kNone && (!is_loop(i) || why == Interruption::kStopped)) return why;
  }
  return Interruption::kNone;
}

void RequestStack::begin(const Begin& begun) {
  if (depth_ == entries_.size()) entries_.emplace_back();
  Entry& entry = entries_[depth_++];
  entry.alias.assign(begun.alias);
  entry.chain = begun.chain;
  entry.deadline_ns = begun.deadline_ns;
  entry.cancel_ns = 0;
  entry.import_ns = 0;
  entry.apart = begun.apart;
  entry.loop = begun.loop;
  entry.ending = {};
  if (begun.loop == Loop::kContext) resumed_ns_ = step_deadline_ns_ = 0;
}

RequestStack::Ended RequestStack::end(std::int64_t now_ns) {
  const Entry& entry = entries_[--depth_];
  if (entry.apart) resumed_ns_ = now_ns;
  const Interruption reason = entry.ending.reason();
  const bool cancelled = reason == Interruption::kNone && entry.cancel_ns != 0 && entry.loop == Loop::kNone;
  return {cancelled ? Interruption::kCancelled : reason, entry.ending.phase() >= Phase::kDelivered};
}

void RequestStack::run_own_loop(std::int64_t deadline_ns) {
  // What ends its task comes from the loop, which can be interrupted nowhere without harm: an interrupt comes only when
  // a step holds that up.
  top().loop = Loop::kOwn;
  if (deadline_ns != 0) top().deadline_ns = deadline_ns + kLoopMayBeLateNs;
}

void RequestStack::step_waits(std::int64_t deadline_ns) {
  if (is_loop(depth_ - 1)) step_deadline_ns_ = deadline_ns;
}

void RequestStack::set_task_deadline(std::int64_t deadline_ns) {
  Entry& loop = entries_.front();
  if (loop.ending.reason() == Interruption::kStopped) return;  // it is late whatever its tasks are
  const std::int64_t before = loop.deadline_ns;
  loop.deadline_ns = deadline_ns == 0 ? 0 : deadline_ns + kLoopMayBeLateNs;
  // The task that was late has ended; the loop itself goes on.
  if (loop.deadline_ns != before && loop.ending.reason() == Interruption::kTimeout) loop.ending.call_off();
}

void RequestStack::task_told(std::string_view alias, std::int64_t now_ns) {
  for (std::size_t i = 0; i < depth_; ++i) {
    Entry& entry = entries_[i];
    if (entry.loop != Loop::kOwn || entry.alias != alias || entry.deadline_ns == 0) continue;
    // Its loop tells it again, and may be late with that.
    entry.deadline_ns = std::max(entry.deadline_ns, now_ns + kTellAgainNs + kLoopMayBeLateNs);
  }
}

bool RequestStack::settle() {
  if (depth_ != 1 || !on_loop()) return false;
  Escalation& loop = entries_.front().ending;
  if (loop.reason() == Interruption::kStopped || loop.phase() < Phase::kDelivered) return false;
  loop = {};
  return true;
}

void RequestStack::share(std::string_view alias, const Escalation& ending) {
  if (depth_ > 0 && top().alias == alias) top().ending.take_over(ending);
}

void RequestStack::cancel_seen(std::string_view alias) {
  for (std::size_t i = 0; i < depth_; ++i) {
    if (is_loop(i) || entries_[i].alias == alias) entries_[i].cancel_ns = 0;
  }
}

void RequestStack::cancel_above(std::size_t index, std::int64_t now_ns, Effects& effects) {
  if (depth_ > index + 1 && !entries_[index + 1].apart) cancel_from(index + 1, now_ns, effects);
}

bool RequestStack::take_due() {
  if (!due() || is_loop(depth_ - 1)) return false;
  top().ending.delivered();
  return true;
}

bool RequestStack::interrupt(std::int64_t now_ns, Effects& effects) {
  for (std::size_t i = running_from(); i < depth_; ++i) {
    if (entries_[i].alias.empty()) continue;
    interrupt_from(i, Interruption::kRequested, now_ns, effects);
    return true;
  }
  return false;
}

bool RequestStack::interrupt_loop(bool executing, std::int64_t now_ns, Effects& effects) {
  if (depth_ != 1 || !on_loop() || !executing) return false;
  interrupt_from(0, Interruption::kRequested, now_ns, effects);
  return true;
}

bool RequestStack::cancel(std::string_view alias, std::int64_t now_ns, Effects& effects) {
  // From the top: the turn of a stream is above its request while that begins.
  for (std::size_t i = depth_; i-- > 0;) {
    if (entries_[i].alias != alias) continue;
    if (entries_[i].loop == Loop::kOwn) {
      entries_[i].cancel_ns = now_ns;
      return true;
    }
    cancel_from(i, now_ns, effects);
    return false;
  }
  // A task, perhaps, and one of its steps may hold up the loop.
  if (on_loop() && entries_.front().cancel_ns == 0) entries_.front().cancel_ns = now_ns;
  return true;
}

void RequestStack::stop(std::int64_t now_ns, Effects& effects) {
  // From here on they are late, whatever their own deadlines: told again and again, and announced as stuck.
  for (std::size_t i = 0; i < depth_; ++i) entries_[i].deadline_ns = now_ns;
  for (std::size_t i = 0; i < depth_; ++i) {
    if (i == 0 || entries_[i].apart) interrupt_from(i, Interruption::kStopped, now_ns, effects);
  }
}

void RequestStack::tick(bool executing, std::int64_t now_ns, Effects& effects) {
  if (depth_ == 0) return;
  watch_loop_cancel(executing, now_ns, effects);
  for (std::size_t i = running_from(); i < depth_; ++i) watch(i, now_ns, effects);
}

/// A CANCEL for a task should have been seen between two rounds.
void RequestStack::watch_loop_cancel(bool executing, std::int64_t now_ns, Effects& effects) {
  Entry& loop = entries_.front();
  if (depth_ != 1 || !on_loop() || !executing || loop.cancel_ns == 0) return;
  if (now_ns < std::max(loop.cancel_ns, resumed_ns_) + kLoopMayBeLateNs) return;
  loop.cancel_ns = now_ns;
  interrupt_from(0, Interruption::kCancelled, now_ns, effects);
}

bool RequestStack::cancel_is_overdue(const Entry& entry, std::int64_t now_ns) const {
  if (entry.cancel_ns == 0 || entry.loop == Loop::kContext) return false;
  return now_ns >= entry.cancel_ns + (entry.loop == Loop::kOwn ? kLoopMayBeLateNs : 0);
}

void RequestStack::watch(std::size_t index, std::int64_t now_ns, Effects& effects) {
  Entry& entry = entries_[index];
  const bool loop = entry.loop == Loop::kContext;
  const bool goes_on = entry.ending.reason() == Interruption::kCancelled && !entry.ending.told_lately(now_ns);
  if (goes_on || cancel_is_overdue(entry, now_ns)) cancel_from(index, now_ns, effects);
  // What a step of the loop waits for is late when its request is, whatever the other tasks are.
  std::int64_t& deadline_ns = loop && depth_ > 1 ? step_deadline_ns_ : entry.deadline_ns;
  if (deadline_ns == 0 || now_ns < deadline_ns || (loop && now_ns < resumed_ns_ + kLoopMayBeLateNs)) return;
  const bool stopped = entry.ending.reason() == Interruption::kStopped;
  if (!stopped && !loop && has_another_chain_above(index)) {
    deadline_ns = now_ns;  // its turn, and its grace, come when those have ended
    return;
  }
  if (!entry.ending.told_lately(now_ns)) {
    interrupt_from(index, stopped ? Interruption::kStopped : Interruption::kTimeout, now_ns, effects);
  }
  if (entry.ending.stick(loop ? std::max(deadline_ns, resumed_ns_) : deadline_ns, grace_ns_, now_ns)) {
    effects.push_back({Effect::Kind::kStuck, index});
  }
}

bool RequestStack::has_another_chain_above(std::size_t index) const {
  return index + 1 < depth_ && !same_age(entries_[index].chain, top().chain);
}

void RequestStack::interrupt_from(std::size_t index, Interruption why, std::int64_t now_ns, Effects& effects) {
  for (std::size_t i = index; i < depth_; ++i) {
    Entry& entry = entries_[i];
    if (i > index && entry.apart) break;  // its turn comes when that has ended: tick() sees to it
    // One that is ending already, since one below or its caller has ended, is left to its finally blocks.
    const bool spared = i > index || why == Interruption::kCancelled;
    if (!spared || !entry.ending.told_lately(now_ns)) entry.ending.ask(why, now_ns);
  }
  effects.push_back({Effect::Kind::kInterrupt, index});
}

void RequestStack::cancel_from(std::size_t index, std::int64_t now_ns, Effects& effects) {
  Entry& entry = entries_[index];
  if (has_another_chain_above(index)) {
    if (entry.cancel_ns == 0) entry.cancel_ns = now_ns;
    return;
  }
  entry.cancel_ns = 0;
  interrupt_from(index, Interruption::kCancelled, now_ns, effects);
}

bool RequestStack::waits_for_import(Entry& entry, bool importing, std::int64_t now_ns) const {
  if (!importing) entry.import_ns = 0;
  if (!importing) return false;
  if (entry.import_ns == 0) entry.import_ns = now_ns;
  return now_ns - entry.import_ns < (grace_ns_ == 0 ? kImportNs : std::min(kImportNs, grace_ns_ / 2));
}

Interruption RequestStack::reason_of(const Step& step, std::int64_t now_ns) const {
  const Interruption loop = entries_.front().ending.reason();
  // What its request has left behind is nobody's, and may not hold up the others.
  if (loop == Interruption::kStopped || loop == Interruption::kRequested || step.answered) return loop;
  if (step.ending.told_lately(now_ns)) return Interruption::kNone;
  if (step.deadline_ns != 0 && now_ns >= step.deadline_ns) return Interruption::kTimeout;
  const bool cancelled = step.cancel_waits || step.ending.reason() == Interruption::kCancelled;
  return cancelled ? Interruption::kCancelled : Interruption::kNone;
}

RequestStack::Delivery RequestStack::deliver(bool importing, const Step* step, std::int64_t now_ns) {
  if (!due()) return Delivery::kNothing;
  Entry& entry = top();
  if (waits_for_import(entry, importing, now_ns)) return Delivery::kLater;
  if (is_loop(depth_ - 1)) {
    const Interruption why = step != nullptr ? reason_of(*step, now_ns) : Interruption::kNone;
    if (why == Interruption::kNone && entry.ending.reason() != Interruption::kStopped) {
      entry.ending.call_off();
      resumed_ns_ = now_ns;
      return Delivery::kCalledOff;
    }
    if (step != nullptr) {
      step->ending.told(why, now_ns);
      step->ending.delivered();
    }
  }
  entry.ending.delivered();
  return Delivery::kRaise;
}

}  // namespace erlang_python
