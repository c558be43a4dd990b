#include "callback/callback_sender.h"

#include <utility>

#include "base/clock.h"

namespace erlang_python {

void CallbackSender::send(CallbackFrame frame, std::uint64_t nesting, bool system) {
  {
    const MutexLock lock(mu_);
    CallbackGate& gate = system ? system_ : functions_;
    if (!gate.enter(frame.id, nesting, frame.out.wanted_bytes())) return gate.wait(std::move(frame), nesting);
  }
  put(frame);
}

void CallbackSender::answered(std::uint64_t id) {
  const MutexLock lock(mu_);
  auto answered = functions_.answer(id);
  if (!answered.was_out) answered = system_.answer(id);
  // Under the lock: an ABANDONED must not overtake the frame that it is about.
  for (CallbackFrame& frame : answered.next) put(frame);
}

void CallbackSender::abandon(std::uint64_t id) {
  const std::int64_t now = now_ns();
  const MutexLock lock(mu_);
  auto given_up = functions_.give_up(id, now);
  if (given_up == CallbackGate::GivenUp::kUnknown) given_up = system_.give_up(id, now);
  if (given_up != CallbackGate::GivenUp::kWasOut) return;
  TermWriter out;
  begin_notice(out, Notice::kAbandoned, 1);
  out.integer(static_cast<std::int64_t>(id));
  finish_frame(out);
  writer_.send(out.bytes());
  has_due_ = true;
  ticker_.ensure_armed();
}

void CallbackSender::send_due() {
  const std::int64_t now = now_ns();
  const MutexLock lock(mu_);
  for (CallbackGate* gate : {&functions_, &system_}) {
    for (CallbackFrame& frame : gate->take_due(now)) put(frame);
  }
  has_due_ = functions_.has_due() || system_.has_due();
}

void CallbackSender::put(CallbackFrame& frame) {
  TermWriter key;
  key.integer(static_cast<std::int64_t>(frame.id));
  writer_.send_in_pieces(frame.out, frame.payload_start, key.bytes());
}

}  // namespace erlang_python
