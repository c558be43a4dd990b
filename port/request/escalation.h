#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace erlang_python {

/// Why something that runs is to end.
enum class Interruption : std::uint8_t { kNone, kRequested, kTimeout, kStopped, kCancelled };

/// What was told to end and goes on is told again after that: until then it is left to its finally blocks.
constexpr std::int64_t kTellAgainNs = 1'000 * kNsPerMs;

/// How far the end of something that runs has come. It only goes up, unless the end is called off.
enum class Phase : std::uint8_t {
  kRunning,    ///< nobody has told it to end
  kAsked,      ///< it was told
  kDelivered,  ///< KeyboardInterrupt was set in its thread, at least once
  kStuck,      ///< Erlang was told that it does not end
};

/// How one thing that runs is brought to its end, again and again until it ends: a request on the stack of a context,
/// or a task of an event loop. A value; times are those of now_ns().
class Escalation {
 public:
  Interruption reason() const { return reason_; }
  Phase phase() const { return phase_; }
  /// KeyboardInterrupt is to be set in its thread.
  bool due() const { return due_; }
  bool told_lately(std::int64_t now_ns) const {
    return reason_ != Interruption::kNone && told_ns_ != 0 && now_ns - told_ns_ < kTellAgainNs;
  }

  /// It is to be interrupted, for this reason from now on.
  void ask(Interruption why, std::int64_t now_ns) {
    reason_ = why;
    told_ns_ = now_ns;
    due_ = true;
    reach(Phase::kAsked);
  }
  /// It was told in another way, as by asyncio's cancel(). The first reason is the one that its caller hears.
  void told(Interruption why, std::int64_t now_ns) {
    fail_for(why);
    told_ns_ = now_ns;
    reach(Phase::kAsked);
  }
  /// What fails from now on fails for this reason, unless there is one.
  void fail_for(Interruption why) {
    if (reason_ == Interruption::kNone) reason_ = why;
  }
  /// KeyboardInterrupt is set in its thread now.
  void delivered() {
    due_ = false;
    reach(Phase::kDelivered);
  }
  /// What was set in its thread has been taken back.
  void put_off() { due_ = true; }
  /// What ran on its behalf was told for it.
  void take_over(const Escalation& other) {
    reason_ = other.reason_;
    told_ns_ = other.told_ns_;
    due_ = false;
    reach(Phase::kAsked);
  }
  /// It is late since `late_ns`. True, once: that is too long, and Erlang is to be told. 0: no time is too long.
  [[nodiscard]] bool stick(std::int64_t late_ns, std::int64_t grace_ns, std::int64_t now_ns) {
    if (grace_ns == 0 || phase_ == Phase::kStuck || now_ns - late_ns < grace_ns) return false;
    phase_ = Phase::kStuck;
    return true;
  }
  /// It is not the one that is to end. An exception that was set in its thread may still be there.
  void call_off() {
    reason_ = Interruption::kNone;
    due_ = false;
    phase_ = phase_ >= Phase::kDelivered ? Phase::kDelivered : Phase::kRunning;
  }

 private:
  void reach(Phase phase) { phase_ = std::max(phase_, phase); }

  std::int64_t told_ns_ = 0;  ///< when it was last told
  Interruption reason_ = Interruption::kNone;
  Phase phase_ = Phase::kRunning;
  bool due_ = false;
};

}  // namespace erlang_python
