// Whatever happens in whatever order: nothing is told after its end, no effect names what is gone, what was told to end
// is told again until it ends.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/chain.h"
#include "request/request_stack.h"

using namespace erlang_python;
using Stack = RequestStack;
using Kind = Stack::Effect::Kind;

namespace {

constexpr std::int64_t kGrace = 3'000 * kNsPerMs;

/// What a request has been through, kept beside the stack.
struct Told {
  std::string alias;
  bool asked = false;      ///< an event may have meant it
  bool delivered = false;  ///< KeyboardInterrupt was raised in it
  int stuck = 0;
};

/// A stack, a model of it, and a thread that does what the stack allows.
class Storm {
 public:
  explicit Storm(unsigned seed) : random_(seed) {}

  void step() {
    now_ += below(40) * kNsPerMs;
    Stack::Effects effects;
    switch (below(14)) {
      case 0:
      case 1:
      case 2:
        begin();
        break;
      case 3:
      case 4:
        if (!told_.empty()) end();
        break;
      case 5:
        if (!told_.empty() && !stack_.has_loop(top()) && !told_.back().alias.empty()) {
          stack_.run_own_loop(some_deadline());
        }
        break;
      case 6:
        cancel(effects);
        break;
      case 7:
        if (below(4) == 0) interrupt(effects);
        break;
      case 8:
        if (below(40) == 0) stop(effects);
        break;
      case 9:
        wait();
        break;
      case 10:
        task_event();
        break;
      case 11:
        deliver(below(3) == 0);
        break;
      default:
        stack_.tick(below(4) != 0, now_, effects);
        break;
    }
    take(effects);
    check();
  }

  /// Everything that was told goes on for as long as it is told again, then ends.
  void drain() {
    while (!told_.empty()) {
      if (!stack_.is_loop(top()) && stack_.ending(top()).reason() == Interruption::kCancelled) told_again();
      end();
      check();
    }
    Stack::Effects effects;
    stack_.tick(true, now_ + kGrace, effects);
    CHECK(effects.empty());
    CHECK(stack_.deliver(false, nullptr, now_) == Stack::Delivery::kNothing);
  }

 private:
  std::int64_t below(std::int64_t limit) { return std::uniform_int_distribution<std::int64_t>(0, limit - 1)(random_); }
  std::size_t top() const { return told_.size() - 1; }
  std::int64_t some_deadline() { return below(3) == 0 ? 0 : now_ + below(200) * kNsPerMs; }

  void begin() {
    if (told_.empty() && below(2) == 0) {
      stack_.begin({{}, 0, 0, false, Stack::Loop::kContext});
      told_.push_back({});
      return;
    }
    if (told_.size() > 6) return;
    const bool apart = told_.size() == 1 && stack_.on_loop() && below(2) == 0;
    // Chains only get older towards the top.
    if (!told_.empty() && !apart && below(2) == 0) chain_ = std::max<std::int64_t>(1, chain_ - 1);
    if (told_.empty() || apart) chain_ = 100;
    const std::string alias = below(8) == 0 ? "" : "request " + std::to_string(++begun_);
    stack_.begin({alias, some_deadline(), static_cast<std::uint64_t>(chain_) << kLineBits, apart});
    told_.push_back({alias});
    CHECK(stack_.ending(top()).phase() == Phase::kRunning);
    CHECK_FALSE(stack_.due());
  }

  void end() {
    const Told told = told_.back();
    const Phase phase = stack_.ending(top()).phase();
    const Stack::Ended ended = stack_.end(now_);
    told_.pop_back();
    gone_ = told.alias;
    if (!told.asked) CHECK(ended.asked == Interruption::kNone);
    if (ended.why() != Interruption::kNone) {
      CHECK(phase >= Phase::kDelivered);
      CHECK(ended.why() == ended.asked);
    }
    if (told.delivered && ended.asked != Interruption::kNone) CHECK(ended.why() == ended.asked);
  }

  void cancel(Stack::Effects& effects) {
    std::string alias = gone_;
    if (!told_.empty() && below(4) != 0) alias = told_[static_cast<std::size_t>(below(std::ssize(told_)))].alias;
    if (alias.empty()) alias = "nobody";
    const bool known = is_live(alias);
    const bool left = stack_.cancel(alias, now_, effects);
    if (!known) {
      CHECK(left);
      CHECK(effects.empty());
    }
    for (std::size_t i = 0; i < told_.size(); ++i) {
      if (told_[i].alias == alias) mark_from(i);
    }
    if (left && below(2) == 0) stack_.cancel_seen(alias);
  }

  void interrupt(Stack::Effects& effects) {
    const bool found = stack_.interrupt(now_, effects) || stack_.interrupt_loop(true, now_, effects);
    CHECK(found == !effects.empty());
  }

  void stop(Stack::Effects& effects) {
    stack_.stop(now_, effects);
    mark_from(0);
    if (!told_.empty()) CHECK(stack_.ending(0).reason() == Interruption::kStopped);
    for (std::size_t i = 0; i < told_.size(); ++i) CHECK(stack_.ending(i).reason() != Interruption::kNone);
  }

  void wait() {
    if (told_.empty()) return;
    if (stack_.is_loop(top())) {
      stack_.step_waits(some_deadline());
    } else if (stack_.take_due()) {
      CHECK(told_.back().asked);
      told_.back().delivered = true;
    }
  }

  void task_event() {
    if (told_.empty() || !stack_.is_loop(top())) return;
    if (below(2) == 0) {
      stack_.set_task_deadline(some_deadline());
    } else if (stack_.settle()) {
      told_.back() = {};
    }
  }

  void deliver(bool importing) {
    Escalation task;
    const Stack::Step step{task, some_deadline(), below(8) == 0, below(4) == 0};
    const bool was_due = stack_.due();
    const bool loop = !told_.empty() && stack_.is_loop(top());
    const auto delivery = stack_.deliver(importing, loop && below(3) != 0 ? &step : nullptr, now_);
    CHECK(was_due == (delivery != Stack::Delivery::kNothing));
    if (delivery == Stack::Delivery::kLater) CHECK(importing);
    if (delivery == Stack::Delivery::kCalledOff) CHECK(loop);
    if (delivery == Stack::Delivery::kRaise) {
      CHECK(told_.back().asked);
      told_.back().delivered = true;
    }
    if (task.phase() != Phase::kRunning) CHECK(delivery == Stack::Delivery::kRaise);
  }

  void told_again() {
    for (int times = 0; times < 3; ++times) {
      Stack::Effects effects;
      now_ += kTellAgainNs;
      stack_.tick(true, now_, effects);
      take(effects);
      CHECK(stack_.deliver(false, nullptr, now_) == Stack::Delivery::kRaise);
      told_.back().delivered = true;
      effects.clear();
      stack_.tick(true, now_ + kTellAgainNs - 1, effects);
      for (const auto& effect : effects) CHECK(effect.index <= top());
      take(effects);
    }
  }

  void take(const Stack::Effects& effects) {
    for (const Stack::Effect& effect : effects) {
      REQUIRE(effect.index < told_.size());
      CHECK(stack_.alias(effect.index) == told_[effect.index].alias);
      mark_from(effect.index);
      if (effect.kind == Kind::kStuck) {
        CHECK(stack_.ending(effect.index).phase() == Phase::kStuck);
        if (!stack_.is_loop(effect.index)) CHECK(++told_[effect.index].stuck == 1);
      }
    }
  }

  void check() {
    REQUIRE(stack_.depth() == told_.size());
    for (std::size_t i = 0; i < told_.size(); ++i) {
      const Escalation& ending = stack_.ending(i);
      CHECK(stack_.alias(i) == told_[i].alias);
      if (!told_[i].asked) CHECK(ending.reason() == Interruption::kNone);
      if (ending.due()) CHECK(ending.reason() != Interruption::kNone);
      if (ending.reason() != Interruption::kNone) CHECK(ending.phase() != Phase::kRunning);
      if (told_[i].delivered && !stack_.is_loop(i)) CHECK(ending.phase() >= Phase::kDelivered);
    }
  }

  void mark_from(std::size_t index) {
    for (std::size_t i = index; i < told_.size(); ++i) told_[i].asked = true;
  }
  bool is_live(const std::string& alias) const {
    for (const Told& told : told_) {
      if (told.alias == alias) return true;
    }
    return false;
  }

  std::mt19937 random_;
  Stack stack_{kGrace};
  std::vector<Told> told_;
  std::int64_t now_ = 1'000'000 * kNsPerMs;
  std::int64_t chain_ = 100;
  std::string gone_;
  int begun_ = 0;
};

}  // namespace

TEST_CASE("random events") {
  for (unsigned seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    Storm storm(seed);
    for (int i = 0; i < 400; ++i) storm.step();
    storm.drain();
  }
}
