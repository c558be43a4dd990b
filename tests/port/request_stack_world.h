#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string_view>

#include "base/chain.h"
#include "request/request_stack.h"

namespace erlang_python {

using Stack = RequestStack;
using Kind = Stack::Effect::Kind;

constexpr std::int64_t kMs = kNsPerMs;
constexpr std::int64_t kSecond = 1'000 * kMs;
constexpr std::int64_t kGrace = 5 * kSecond;
constexpr std::int64_t kStart = 1'000 * kSecond;
constexpr std::int64_t kForever = 0;

/// A stack with a clock.
struct World {
  Stack stack{kGrace};
  std::int64_t now = kStart;

  void begin(std::string_view alias, std::int64_t deadline_ns = kForever, std::uint64_t age = 0) {
    stack.begin({alias, deadline_ns, age << kLineBits});
  }
  void begin_loop() { stack.begin({{}, 0, 0, false, Stack::Loop::kContext}); }
  void begin_apart(std::string_view alias, std::int64_t deadline_ns = kForever) {
    stack.begin({alias, deadline_ns, 0, true});
  }
  Stack::Ended end() { return stack.end(now); }

  /// What the ticks of so much time ask for: one each millisecond.
  Stack::Effects pass(std::int64_t time) {
    Stack::Effects effects;
    for (const std::int64_t until = now + time; now < until;) {
      now += kMs;
      stack.tick(true, now, effects);
    }
    return effects;
  }
  Stack::Delivery deliver(const Stack::Step* step = nullptr, bool importing = false) {
    return stack.deliver(importing, step, now);
  }
  bool raises(const Stack::Step* step = nullptr) { return deliver(step) == Stack::Delivery::kRaise; }
  bool cancel(std::string_view alias) {
    Stack::Effects effects;
    return stack.cancel(alias, now, effects);
  }
  bool interrupt() {
    Stack::Effects effects;
    return stack.interrupt(now, effects);
  }
  void stop() {
    Stack::Effects effects;
    stack.stop(now, effects);
  }
};

inline std::size_t count(const Stack::Effects& effects, Kind kind) {
  std::size_t found = 0;
  for (const Stack::Effect& effect : effects) found += effect.kind == kind ? 1 : 0;
  return found;
}

}  // namespace erlang_python
