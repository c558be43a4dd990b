#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "callback/callback_gate.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"

namespace erlang_python {

/// Sends callbacks to Erlang, no more at once than `max_callbacks` allows. Any thread; never waits with a GIL.
class CallbackSender {
 public:
  CallbackSender(StdoutWriter& writer, Ticker& ticker, std::size_t max_callbacks, std::size_t max_frame_bytes)
      : writer_(writer),
        ticker_(ticker),
        functions_(max_callbacks, kLargeCallbacks * max_frame_bytes),
        system_(max_callbacks, kLargeCallbacks * max_frame_bytes) {}
  CallbackSender(const CallbackSender&) = delete;
  CallbackSender& operator=(const CallbackSender&) = delete;

  /// Sends a finished frame now, or when its turn comes. `system`: it asks for a function of the package itself, which
  /// waits for nobody. Those have places of their own, since a message that ends a thousand callbacks may need one.
  void send(CallbackFrame frame, std::uint64_t nesting, bool system);

  /// Whoever reads stdin: the answer is there.
  void answered(std::uint64_t id);

  /// Nobody waits for it any more. Erlang is told, unless it has never heard of it, or has answered.
  void abandon(std::uint64_t id);

  /// At the ticks, while has_due(): sends what gets the places of those that were abandoned.
  bool has_due() const { return has_due_.load(std::memory_order_relaxed); }
  void send_due();

 private:
  /// So many of the largest may be out; Erlang keeps their arguments while they run.
  static constexpr std::size_t kLargeCallbacks = 2;

  void put(CallbackFrame& frame);

  StdoutWriter& writer_;
  Ticker& ticker_;
  std::atomic<bool> has_due_ = false;
  Mutex mu_;
  CallbackGate functions_ GUARDED_BY(mu_);
  CallbackGate system_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
