#pragma once

#include <atomic>
#include <cstdint>

#include "protocol/messages.h"

namespace erlang_python {

/// Which thread reads stdin: one atomic word. See docs/design.md, "Leader and followers".
///
/// The reader's buffer belongs to whoever the word names. It changes hands only where all complete frames have been
/// dispatched: every transition below is made at such a point, and a failed one changes nothing.
class Leadership {
 public:
  /// A context with nothing to do takes over from an idle loop, or from a context (itself included) that is in Python.
  [[nodiscard]] bool try_lead(ContextId context) {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    while (state_of(word) == State::kLoopIdle || state_of(word) == State::kRunning) {
      const std::uint64_t next = pack(State::kLeading, context, turn_of(word));
      if (word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
    }
    return false;
  }

  /// The leader is about to run a request, or `context`, to which it hands over, is: from now on it can be stolen from.
  void begin_running(ContextId context) {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    word_.store(pack(State::kRunning, context, turn_of(word) + 1), std::memory_order_seq_cst);
  }

  /// The leader gives up; the loop must be told to watch stdin.
  void leave_to_loop() {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    word_.store(pack(State::kLoopIdle, 0, turn_of(word)), std::memory_order_seq_cst);
  }

  /// Loop thread: begins and ends a turn of reading.
  [[nodiscard]] bool loop_begin_reading() {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    return state_of(word) == State::kLoopIdle &&
           word_.compare_exchange_strong(word, pack(State::kLoopReading, 0, turn_of(word)), std::memory_order_acq_rel);
  }
  void loop_end_reading() { leave_to_loop(); }

  struct Snapshot {
    bool loop;     ///< the loop reads or waits
    bool running;  ///< a leader is in Python
    std::uint32_t turn;
  };
  Snapshot snapshot() const {
    const std::uint64_t word = word_.load(std::memory_order_seq_cst);
    const State state = state_of(word);
    return {state == State::kLoopIdle || state == State::kLoopReading, state == State::kRunning, turn_of(word)};
  }

  /// Loop thread: takes over from a leader that is still in the turn that was seen a tick ago.
  [[nodiscard]] bool loop_steal(std::uint32_t turn) {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    return state_of(word) == State::kRunning && turn_of(word) == turn &&
           word_.compare_exchange_strong(word, pack(State::kLoopIdle, 0, turn), std::memory_order_acq_rel);
  }

 private:
  enum class State : std::uint8_t { kLoopIdle, kLoopReading, kLeading, kRunning };

  // 2 bits state, 30 bits context, 32 bits turn. The turn makes a context that led, lost and regained the leadership
  // look different to the tick.
  static std::uint64_t pack(State state, ContextId context, std::uint32_t turn) {
    return (std::uint64_t{turn} << 32) | (std::uint64_t{context} << 2) | static_cast<std::uint64_t>(state);
  }
  static State state_of(std::uint64_t word) { return static_cast<State>(word & 3); }
  static std::uint32_t turn_of(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }

  std::atomic<std::uint64_t> word_ = 0;  // kLoopIdle
};

}  // namespace erlang_python
