#include "callback/callback_gate.h"

#include "base/clock.h"

namespace erlang_python {
namespace {

// It takes about a microsecond to give one up.
constexpr std::int64_t kCalmNs = 5 * kNsPerMs;
// Requests that are late one after the other must not keep others waiting.
constexpr std::int64_t kPatienceNs = 200 * kNsPerMs;

}  // namespace

void CallbackGate::take_place(std::size_t bytes) {
  ++places_taken_;
  bytes_ += bytes;
}

void CallbackGate::leave_place(std::size_t bytes) {
  --places_taken_;
  bytes_ -= bytes;
}

bool CallbackGate::enter(Id id, Nesting nesting, std::size_t bytes) {
  if (has_place(bytes) && waiting_.empty()) {
    take_place(bytes);
    out_.emplace(id, Out{0, bytes});
    return true;
  }
  if (nesting == 0 || !beyond_.insert(nesting).second) return false;
  out_.emplace(id, Out{nesting, 0});
  return true;
}

void CallbackGate::wait(CallbackFrame frame, Nesting nesting) {
  frame.out.shrink(0);  // it may wait for long, and with many others
  const Id id = frame.id;
  if (nesting != 0) nested_waiting_.emplace(nesting, id);
  waiting_.emplace(id, Waiting{nesting, std::move(frame)});
}

void CallbackGate::erase(AllWaiting::iterator waiting) {
  if (waiting->second.nesting != 0) nested_waiting_.erase({waiting->second.nesting, waiting->first});
  waiting_.erase(waiting);
}

CallbackFrame CallbackGate::send(AllWaiting::iterator waiting, Nesting beyond) {
  const std::size_t bytes = beyond == 0 ? waiting->second.frame.out.wanted_bytes() : 0;
  if (beyond == 0) {
    take_place(bytes);
  } else {
    beyond_.insert(beyond);
  }
  out_.emplace(waiting->first, Out{beyond, bytes});
  CallbackFrame frame = std::move(waiting->second.frame);
  erase(waiting);
  return frame;
}

CallbackGate::AllWaiting::iterator CallbackGate::first_of(Nesting nesting) {
  const auto found = nested_waiting_.lower_bound({nesting, 0});
  return found == nested_waiting_.end() || found->first != nesting ? waiting_.end() : waiting_.find(found->second);
}

CallbackGate::Answered CallbackGate::answer(Id id) {
  const auto found = out_.find(id);
  if (found == out_.end()) return {};
  const Out out = found->second;
  out_.erase(found);
  Answered answered{true, {}};
  if (out.beyond == 0) {
    leave_place(out.bytes);
    send_first(answered.next);
    return answered;
  }
  beyond_.erase(out.beyond);
  if (const auto next = first_of(out.beyond); next != waiting_.end()) answered.next.push_back(send(next, out.beyond));
  return answered;
}

void CallbackGate::send_first(std::vector<CallbackFrame>& sent) {
  while (!waiting_.empty() && has_place(waiting_.begin()->second.frame.out.wanted_bytes())) {
    sent.push_back(send(waiting_.begin(), 0));
  }
}

CallbackGate::GivenUp CallbackGate::give_up(Id id, std::int64_t now_ns) {
  if (const auto waiting = waiting_.find(id); waiting != waiting_.end()) {
    erase(waiting);
    last_given_up_ns_ = now_ns;
    return GivenUp::kWaited;
  }
  const auto found = out_.find(id);
  if (found == out_.end()) return GivenUp::kUnknown;
  if (found->second.beyond == 0) {
    leave_place(found->second.bytes);
  } else {
    beyond_.erase(found->second.beyond);
    given_up_beyond_.insert(found->second.beyond);
  }
  out_.erase(found);
  if (first_given_up_ns_ == 0) first_given_up_ns_ = now_ns;
  last_given_up_ns_ = now_ns;
  return GivenUp::kWasOut;
}

std::vector<CallbackFrame> CallbackGate::take_due(std::int64_t now_ns) {
  std::vector<CallbackFrame> due;
  if (first_given_up_ns_ == 0) return due;
  if (now_ns - last_given_up_ns_ < kCalmNs && now_ns - first_given_up_ns_ < kPatienceNs) return due;
  first_given_up_ns_ = 0;
  for (const Nesting nesting : std::exchange(given_up_beyond_, {})) {
    const auto next = beyond_.contains(nesting) ? waiting_.end() : first_of(nesting);
    if (next != waiting_.end()) due.push_back(send(next, nesting));
  }
  send_first(due);
  return due;
}

}  // namespace erlang_python
