// Each rule by which a request is brought to its end. Random events are in request_stack_random_test.cc.
#include "request_stack_world.h"

using namespace erlang_python;

TEST_CASE("a request that ends in time is told nothing") {
  World world;
  world.begin("a", kStart + kSecond);
  CHECK(world.pass(999 * kMs).empty());
  CHECK(world.deliver() == Stack::Delivery::kNothing);
  const auto ended = world.end();
  CHECK(ended.why() == Interruption::kNone);
  CHECK(ended.asked == Interruption::kNone);
  CHECK(world.pass(kSecond).empty());
}

TEST_CASE("a late request is interrupted, again after a second, and announced once when its grace is over") {
  World world;
  world.begin("a", kStart + kSecond);
  auto effects = world.pass(kSecond);
  REQUIRE(effects.size() == 1);
  CHECK(effects[0].kind == Kind::kInterrupt);
  CHECK(world.stack.ending(0).phase() == Phase::kAsked);
  CHECK(world.raises());
  CHECK(world.stack.ending(0).phase() == Phase::kDelivered);
  CHECK(world.pass(999 * kMs).empty());
  CHECK(world.deliver() == Stack::Delivery::kNothing);
  CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  CHECK(world.raises());
  CHECK(world.pass(kGrace - kSecond - kMs).size() == 3);
  effects = world.pass(kMs);
  CHECK(count(effects, Kind::kInterrupt) == 1);
  REQUIRE(count(effects, Kind::kStuck) == 1);
  CHECK(world.stack.alias(effects.back().index) == "a");
  effects = world.pass(10 * kSecond);
  CHECK(count(effects, Kind::kStuck) == 0);
  CHECK(count(effects, Kind::kInterrupt) == 10);
  CHECK(world.end().why() == Interruption::kTimeout);
}

TEST_CASE("a request that ends before its interrupt was set has been asked only") {
  World world;
  world.begin("a", kStart + kMs);
  world.pass(kMs);
  const auto ended = world.end();
  CHECK(ended.why() == Interruption::kNone);
  CHECK(ended.asked == Interruption::kTimeout);
  world.begin("b");
  CHECK(world.deliver() == Stack::Delivery::kNothing);
}

TEST_CASE("one that was interrupted and asked again has been interrupted") {
  World world;
  world.begin("a");
  CHECK_FALSE(world.cancel("a"));
  CHECK(world.raises());
  world.pass(kSecond);
  CHECK(world.stack.due());
  CHECK(world.end().why() == Interruption::kCancelled);
}

TEST_CASE("a cancelled request is told each second until it ends, and never announced without a deadline") {
  World world;
  world.begin("a");
  CHECK_FALSE(world.cancel("a"));
  CHECK(world.raises());
  for (int i = 0; i < 20; ++i) {
    CHECK(count(world.pass(kSecond), Kind::kInterrupt) == 1);
    CHECK(world.raises());
  }
  CHECK(world.end().why() == Interruption::kCancelled);
}

TEST_CASE("a second CANCEL leaves a request to its finally blocks") {
  World world;
  world.begin("a");
  CHECK_FALSE(world.cancel("a"));
  CHECK(world.raises());
  world.pass(kMs);
  CHECK_FALSE(world.cancel("a"));
  CHECK_FALSE(world.stack.due());
}

TEST_CASE("an interrupt from Erlang is for what has an alias") {
  World world;
  CHECK_FALSE(world.interrupt());
  world.begin("");
  CHECK_FALSE(world.interrupt());
  world.begin("a", kForever, 1);
  CHECK(world.interrupt());
  CHECK(world.interrupt());  // at once if it is asked for again
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kRequested);
  CHECK(world.end().asked == Interruption::kNone);
}

TEST_CASE("a deadline ends what stands on the request in the same chain, from the top") {
  World world;
  world.begin("a", kStart + kMs, 1);
  world.begin("b", kForever, 1);
  CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kTimeout);
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kTimeout);
}

TEST_CASE("one that is ending above is not told by a deadline below") {
  World world;
  world.begin("a", kStart + 10 * kMs, 1);
  world.begin("b", kStart + 5 * kMs, 1);
  world.pass(5 * kMs);
  CHECK(world.raises());
  world.pass(5 * kMs);
  CHECK_FALSE(world.stack.due());
  world.end();
  CHECK(world.stack.due());
}

TEST_CASE("a deadline and a CANCEL wait while another chain runs above") {
  World world;
  world.begin("late", kStart + 10 * kMs, 2);
  world.begin("other", kForever, 1);
  CHECK_FALSE(world.cancel("late"));
  CHECK(world.pass(10 * kSecond).empty());
  CHECK(world.end().asked == Interruption::kNone);
  const auto effects = world.pass(kMs);
  CHECK(count(effects, Kind::kInterrupt) == 1);
  CHECK(count(effects, Kind::kStuck) == 0);  // its grace begins now
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kCancelled);
}

TEST_CASE("a CANCEL that waited to the end of its request was asked for") {
  World world;
  world.begin("a", kForever, 2);
  world.begin("b", kForever, 1);
  CHECK_FALSE(world.cancel("a"));
  world.end();
  CHECK(world.end().asked == Interruption::kCancelled);
}

TEST_CASE("a CANCEL that has waited is told once") {
  World world;
  world.begin("a", kForever, 2);
  world.begin("b", kForever, 1);
  CHECK_FALSE(world.cancel("a"));
  world.end();
  CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  CHECK(world.raises());
  CHECK(world.pass(999 * kMs).empty());
}

TEST_CASE("a chain that begins while the request runs counts") {
  World world;
  world.begin("a");
  world.stack.set_chain(line_of_chain(7 << kLineBits, 1));  // that of a thread is as old
  world.begin("b", kForever, 7);
  CHECK_FALSE(world.cancel("a"));
  CHECK(world.raises());
}

TEST_CASE("a CANCEL that no entry has is left in the mailbox") {
  World world;
  CHECK(world.cancel("a"));
  world.begin("b");
  CHECK(world.cancel("a"));
  CHECK_FALSE(world.stack.due());
}

TEST_CASE("stopping is for all, whatever chains they are of") {
  World world;
  world.begin("a", kForever, 2);
  world.begin("b", kForever, 1);
  world.stop();
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kStopped);
  CHECK(world.raises());
  CHECK(count(world.pass(kGrace), Kind::kStuck) == 1);
  CHECK(world.end().why() == Interruption::kStopped);
}

TEST_CASE("an import may end first, for a while") {
  World world;
  world.begin("a", kStart + kMs);
  world.pass(kMs);
  CHECK(world.deliver(nullptr, true) == Stack::Delivery::kLater);
  world.now += kSecond;
  CHECK(world.deliver(nullptr, true) == Stack::Delivery::kLater);
  SUBCASE("it ends") { CHECK(world.deliver(nullptr, false) == Stack::Delivery::kRaise); }
  SUBCASE("it does not") {
    world.now += kSecond;
    CHECK(world.deliver(nullptr, true) == Stack::Delivery::kRaise);
  }
}

TEST_CASE("an interrupt that was taken back before another entry began comes when that has ended") {
  World world;
  world.begin("a", kForever, 1);
  CHECK_FALSE(world.stack.delivered());
  world.interrupt();
  CHECK(world.raises());
  CHECK(world.stack.delivered());
  world.stack.put_off();
  world.begin("b", kForever, 1);
  CHECK(world.deliver() == Stack::Delivery::kNothing);
  CHECK(world.end().asked == Interruption::kNone);
  CHECK(world.stack.take_due());
  CHECK(world.end().why() == Interruption::kRequested);
}

TEST_CASE("a thread that waits takes its interrupt itself") {
  World world;
  world.begin("a");
  CHECK_FALSE(world.stack.take_due());
  world.interrupt();
  CHECK(world.stack.take_due());
  CHECK_FALSE(world.stack.take_due());
  CHECK(world.deliver() == Stack::Delivery::kNothing);
  CHECK(world.end().why() == Interruption::kRequested);
}

TEST_CASE("without a grace nothing is announced") {
  Stack stack(0);
  Stack::Effects effects;
  stack.begin({"a", kStart});
  for (int i = 0; i < 100; ++i) stack.tick(true, kStart + i * kSecond, effects);
  CHECK(effects.size() == 100);
  CHECK(count(effects, Kind::kStuck) == 0);
}

TEST_CASE("what fails of KeyboardInterrupt by itself fails for the highest reason") {
  World world;
  CHECK(world.stack.reason_to_fail() == Interruption::kNone);
  world.begin("a", kStart + kMs, 1);
  world.begin("b", kForever, 1);
  world.interrupt();
  CHECK(world.stack.reason_to_fail() == Interruption::kRequested);
}
