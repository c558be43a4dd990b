// At most so many callbacks are out at once, in the order in which they came, and nesting never waits for a place.
#include "callback/callback_gate.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace erlang_python;

namespace {

CallbackFrame frame(std::uint64_t id) {
  CallbackFrame made{id, TermWriter(), 0};
  made.out.integer(static_cast<std::int64_t>(id));
  return made;
}

/// Lets a callback in, or makes it wait. True: it went out.
bool arrives(CallbackGate& gate, std::uint64_t id, std::uint64_t nesting = 0, std::size_t bytes = 0) {
  CallbackFrame made = frame(id);
  if (bytes > 0) made.out.binary(std::string(bytes, 'x'));
  if (gate.enter(id, nesting, made.out.size())) return true;
  gate.wait(std::move(made), nesting);
  return false;
}

using Numbers = std::vector<std::uint64_t>;

/// The numbers of those that go out because this one was answered.
Numbers answers(CallbackGate& gate, std::uint64_t id) {
  const auto answered = gate.answer(id);
  CHECK(answered.was_out);
  Numbers numbers;
  for (const CallbackFrame& frame : answered.next) numbers.push_back(frame.id);
  return numbers;
}

Numbers due(CallbackGate& gate, std::int64_t now_ns) {
  Numbers numbers;
  for (const CallbackFrame& frame : gate.take_due(now_ns)) numbers.push_back(frame.id);
  return numbers;
}

/// Has room for everything.
class Store final : public SegmentStore {
 public:
  std::optional<Segment> put(std::span<const std::uint8_t> bytes) override { return Segment{0, bytes.size()}; }
  void drop(const Segment&) override {}
  std::uint32_t new_token() override { return 1; }
};

constexpr std::int64_t kMs = 1'000'000;
constexpr std::size_t kMaxBytes = 1'000'000;

}  // namespace

TEST_CASE("gate: the callbacks beyond the limit wait, and go out one for one in their order") {
  CallbackGate gate(2, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK(arrives(gate, 2));
  CHECK_FALSE(arrives(gate, 3));
  CHECK_FALSE(arrives(gate, 4));
  CHECK(gate.out() == 2);
  CHECK(gate.waiting() == 2);
  CHECK(answers(gate, 2) == Numbers{3});
  CHECK(answers(gate, 3) == Numbers{4});
  CHECK(answers(gate, 1) == Numbers{});
  CHECK(answers(gate, 4) == Numbers{});
  CHECK(gate.out() == 0);
  CHECK(gate.waiting() == 0);
}

TEST_CASE("gate: one that is given up while it waits never leaves") {
  CallbackGate gate(1, kMaxBytes);
  CHECK(arrives(gate, 1));
  for (std::uint64_t id = 2; id < 1000; ++id) CHECK_FALSE(arrives(gate, id));
  for (std::uint64_t id = 2; id < 999; ++id) CHECK(gate.give_up(id, kMs) == CallbackGate::GivenUp::kWaited);
  CHECK(gate.waiting() == 1);
  CHECK(answers(gate, 1) == Numbers{999});
}

TEST_CASE("gate: of thousands that are given up, the oldest first, none leaves a moment before") {
  CallbackGate gate(10, kMaxBytes);
  for (std::uint64_t id = 1; id <= 5000; ++id) CHECK(arrives(gate, id) == (id <= 10));
  std::int64_t now = kMs;
  for (std::uint64_t id = 1; id < 4998; ++id, now += 10'000) {
    CHECK(gate.give_up(id, now) == (id <= 10 ? CallbackGate::GivenUp::kWasOut : CallbackGate::GivenUp::kWaited));
    CHECK(due(gate, now) == Numbers{});
  }
  CHECK(gate.has_due());
  CHECK(due(gate, now + 5 * kMs) == Numbers{4998, 4999, 5000});
  CHECK_FALSE(gate.has_due());
  CHECK(gate.out() == 3);
}

TEST_CASE("gate: those who go on giving up do not keep others waiting for long") {
  CallbackGate gate(2, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK(arrives(gate, 2));
  for (std::uint64_t id = 3; id < 600; ++id) CHECK_FALSE(arrives(gate, id));
  CHECK(gate.give_up(1, kMs) == CallbackGate::GivenUp::kWasOut);
  Numbers sent;
  for (std::int64_t now = 2 * kMs; now <= 201 * kMs; now += kMs) {
    gate.give_up(599 - static_cast<std::uint64_t>(now / kMs), now);
    for (const auto id : due(gate, now)) sent.push_back(id);
  }
  CHECK(sent == Numbers{3});
}

TEST_CASE("gate: while places of those that were given up wait to be given, nobody goes past those that wait") {
  CallbackGate gate(1, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK_FALSE(arrives(gate, 2));
  CHECK(gate.give_up(1, kMs) == CallbackGate::GivenUp::kWasOut);
  CHECK_FALSE(arrives(gate, 3));
  CHECK(due(gate, 6 * kMs) == Numbers{2});
  CHECK(answers(gate, 2) == Numbers{3});
}

TEST_CASE("gate: an answer that comes twice, or for a number that nobody has, frees no place") {
  CallbackGate gate(1, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK_FALSE(arrives(gate, 2));
  CHECK_FALSE(gate.answer(7).was_out);
  CHECK(answers(gate, 1) == Numbers{2});
  CHECK_FALSE(gate.answer(1).was_out);
  CHECK(gate.give_up(1, kMs) == CallbackGate::GivenUp::kUnknown);
  CHECK(gate.out() == 1);
  CHECK_FALSE(arrives(gate, 3));
}

TEST_CASE("gate: a nested request has one callback out whatever the limit, and its others take turns") {
  CallbackGate gate(1, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK(arrives(gate, 2, 70));
  CHECK_FALSE(arrives(gate, 3, 70));
  CHECK(arrives(gate, 4, 71));  // another request
  CHECK_FALSE(arrives(gate, 5));
  CHECK_FALSE(arrives(gate, 6, 70));
  CHECK(answers(gate, 2) == Numbers{3});  // its own next one, though nobody has left a place
  CHECK(answers(gate, 4) == Numbers{});   // what was beyond the limit leaves no place behind
  CHECK(answers(gate, 1) == Numbers{5});  // a place goes to the first of all
  CHECK(answers(gate, 3) == Numbers{6});
  CHECK(answers(gate, 6) == Numbers{});
  CHECK(arrives(gate, 7, 70));
  CHECK(answers(gate, 7) == Numbers{});
  CHECK(answers(gate, 5) == Numbers{});
  CHECK(gate.out() == 0);
}

TEST_CASE("gate: a nested request that waits for a second place is given up without a trace") {
  CallbackGate gate(1, kMaxBytes);
  CHECK(arrives(gate, 1));
  CHECK(arrives(gate, 2, 70));
  CHECK_FALSE(arrives(gate, 3, 70));
  CHECK(gate.give_up(3, kMs) == CallbackGate::GivenUp::kWaited);
  CHECK(answers(gate, 2) == Numbers{});
  CHECK(arrives(gate, 4, 70));
  CHECK_FALSE(arrives(gate, 5, 70));
  CHECK_FALSE(arrives(gate, 6));
  CHECK(gate.give_up(4, 2 * kMs) == CallbackGate::GivenUp::kWasOut);
  CHECK(due(gate, 10 * kMs) == Numbers{5});  // its own, though the one place is taken
  CHECK(answers(gate, 1) == Numbers{6});
}

TEST_CASE("gate: nesting to any depth goes on while all places are taken") {
  constexpr std::uint64_t kWide = 100;
  constexpr std::uint64_t kDeep = 50;
  CallbackGate gate(10, kMaxBytes);
  std::uint64_t out = 0;
  // Each callback that is out makes a nested request, which makes a callback.
  std::vector<std::uint64_t> level;
  for (std::uint64_t id = 1; id <= kWide; ++id) {
    if (arrives(gate, id)) level.push_back(id);
  }
  for (std::uint64_t depth = 1; depth < kDeep; ++depth) {
    for (std::uint64_t& id : level) {
      id += 1000;
      CHECK(arrives(gate, id, id));
      ++out;
    }
  }
  CHECK(out == 10 * (kDeep - 1));
  CHECK(gate.waiting() == kWide - 10);
}

TEST_CASE("gate: without a limit nobody waits") {
  CallbackGate gate(0, kMaxBytes);
  for (std::uint64_t id = 1; id <= 5000; ++id) CHECK(arrives(gate, id));
  CHECK(gate.out() == 5000);
}

TEST_CASE("gate: large arguments wait for room, and small ones behind them for their turn") {
  CallbackGate gate(100, kMaxBytes);
  CHECK(arrives(gate, 1, 0, 600'000));
  CHECK_FALSE(arrives(gate, 2, 0, 600'000));
  CHECK_FALSE(arrives(gate, 3));
  CHECK_FALSE(arrives(gate, 4, 0, 300'000));
  CHECK(answers(gate, 1) == Numbers{2, 3, 4});
  CHECK_FALSE(arrives(gate, 5, 0, 600'000));
  CHECK(answers(gate, 4) == Numbers{});
  CHECK(answers(gate, 2) == Numbers{5});
  CHECK(gate.out() == 2);
}

TEST_CASE("gate: arguments beyond all room go alone, also without a limit on the number") {
  CallbackGate gate(0, kMaxBytes);
  CHECK(arrives(gate, 1, 0, 2'000'000));
  CHECK_FALSE(arrives(gate, 2, 0, 2'000'000));
  CHECK(gate.give_up(1, kMs) == CallbackGate::GivenUp::kWasOut);
  CHECK(due(gate, 100 * kMs) == Numbers{2});
  CHECK(answers(gate, 2) == Numbers{});
  CHECK(arrives(gate, 3, 0, 2'000'000));
}

TEST_CASE("gate: a nested request may have large arguments out beyond the room") {
  CallbackGate gate(100, kMaxBytes);
  CHECK(arrives(gate, 1, 0, 900'000));
  CHECK(arrives(gate, 2, 7, 900'000));
  CHECK_FALSE(arrives(gate, 3, 7, 900'000));
  CHECK(answers(gate, 2) == Numbers{3});
  CHECK(answers(gate, 3) == Numbers{});
  CHECK(answers(gate, 1) == Numbers{});
  CHECK(arrives(gate, 4, 0, 900'000));
}

TEST_CASE("gate: arguments that were put aside count while they wait") {
  constexpr std::size_t kLarge = 600'000;
  Store store;
  CallbackGate gate(0, kMaxBytes);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    CallbackFrame made = frame(id);
    made.out.put_large_into(&store);
    made.out.binary(std::string(kLarge, 'x'));
    REQUIRE(made.out.size() < 100);
    const bool out = gate.enter(id, 0, made.out.wanted_bytes());
    CHECK(out == (id == 1));
    if (!out) gate.wait(std::move(made), 0);
  }
  CHECK(answers(gate, 1) == Numbers{2});
  CHECK(answers(gate, 2) == Numbers{3});
}
