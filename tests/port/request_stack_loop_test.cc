// The rules for what runs in an event loop, or beside its tasks.
#include "request_stack_world.h"

using namespace erlang_python;

TEST_CASE("the loop is interrupted when a late task holds it up, and only for that") {
  World world;
  world.begin_loop();
  Escalation task;
  const Stack::Step step{task, kStart + 10 * kMs};
  world.stack.set_task_deadline(kStart + 10 * kMs);
  CHECK(world.pass(100 * kMs).empty());
  CHECK(count(world.pass(10 * kMs), Kind::kInterrupt) == 1);
  CHECK_FALSE(world.stack.take_due());
  SUBCASE("another task runs") {
    Escalation other;
    const Stack::Step others{other};
    CHECK(world.deliver(&others) == Stack::Delivery::kCalledOff);
    CHECK(other.phase() == Phase::kRunning);
    CHECK(world.pass(99 * kMs).empty());
    CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  }
  SUBCASE("none runs") { CHECK(world.deliver() == Stack::Delivery::kCalledOff); }
  SUBCASE("it was told by its timer a moment ago") {
    task.told(Interruption::kTimeout, world.now);
    CHECK(world.deliver(&step) == Stack::Delivery::kCalledOff);
  }
  SUBCASE("what its request has left behind runs") {
    Escalation other;
    const Stack::Step others{other, 0, true};
    CHECK(world.raises(&others));
  }
  SUBCASE("it is the one") {
    CHECK(world.raises(&step));
    CHECK(task.reason() == Interruption::kTimeout);
    CHECK(task.phase() == Phase::kDelivered);
    world.stack.set_task_deadline(kForever);
    CHECK(world.stack.settle());
    CHECK_FALSE(world.stack.settle());
    CHECK(world.pass(10 * kSecond).empty());
  }
}

TEST_CASE("a CANCEL that the loop does not look at interrupts the step of its task") {
  World world;
  world.begin_loop();
  Escalation task;
  CHECK(world.cancel("task"));
  SUBCASE("it looks") {
    world.stack.cancel_seen("task");
    CHECK(world.pass(kSecond).empty());
  }
  SUBCASE("it does not") {
    CHECK(world.pass(99 * kMs).empty());
    CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
    const Stack::Step step{task, 0, false, true};
    CHECK(world.raises(&step));
    CHECK(task.reason() == Interruption::kCancelled);
    CHECK(world.pass(99 * kMs).empty());
  }
}

TEST_CASE("what stands apart on the loop has its own limits, and the loop is not late meanwhile") {
  World world;
  world.begin_loop();
  world.stack.set_task_deadline(kStart + kMs);
  world.begin_apart("a");
  CHECK(world.pass(10 * kSecond).empty());
  CHECK_FALSE(world.cancel("a"));
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kCancelled);
  CHECK(world.pass(99 * kMs).empty());  // the loop has its turn first
  CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
}

TEST_CASE("what a step of the loop waits for is late when its request is") {
  World world;
  world.begin_loop();
  world.stack.set_task_deadline(kStart + kMs);
  world.stack.step_waits(kStart + 500 * kMs);
  world.begin("a", kForever, 1);
  CHECK(world.pass(499 * kMs).empty());
  CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kTimeout);
}

TEST_CASE("a turn of a stream is not late for a step that has waited before it") {
  World world;
  world.begin_loop();
  world.stack.step_waits(kStart + kMs);
  world.stack.step_waits(kForever);
  world.begin("stream");
  CHECK(world.pass(kSecond).empty());
}

TEST_CASE("a stop is for the loop and for what stands apart on it") {
  World world;
  world.begin_loop();
  world.begin_apart("a");
  world.stop();
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kStopped);
  world.stack.set_task_deadline(kForever);
  CHECK(world.raises());
  CHECK(world.end().asked == Interruption::kStopped);
}

TEST_CASE("a request with a loop of its own is told there, and interrupted when that does not look") {
  World world;
  world.begin("a", kForever, 1);
  world.stack.run_own_loop(kStart + 500 * kMs);
  SUBCASE("a CANCEL") {
    CHECK(world.cancel("a"));
    CHECK(world.pass(99 * kMs).empty());
    CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
    CHECK(world.raises());
  }
  SUBCASE("a CANCEL that it looks at") {
    CHECK(world.cancel("a"));
    world.stack.cancel_seen("a");
    CHECK(world.pass(499 * kMs).empty());
  }
  SUBCASE("a deadline") {
    CHECK(world.pass(599 * kMs).empty());
    CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  }
  SUBCASE("a deadline that its task was told of") {
    world.pass(500 * kMs);
    world.stack.task_told("a", world.now);
    CHECK(world.pass(1099 * kMs).empty());
    CHECK(count(world.pass(kMs), Kind::kInterrupt) == 1);
  }
}

TEST_CASE("a step that is to end ends after what stands above it") {
  World world;
  Stack::Effects effects;
  world.begin_loop();
  world.stack.cancel_above(0, world.now, effects);
  CHECK(effects.empty());
  world.begin("a", kForever, 1);
  world.stack.cancel_above(0, world.now, effects);
  CHECK(effects.size() == 1);
  CHECK(world.raises());
  CHECK(world.end().why() == Interruption::kCancelled);
}

TEST_CASE("a stream that was interrupted in its first turn is not told again by its request") {
  World world;
  world.begin("a", kStart + kMs);
  world.begin("a", kStart + kMs);
  world.pass(kMs);
  CHECK(world.raises());
  Escalation stream;
  stream.told(world.end().asked, world.now);
  CHECK(world.stack.due());
  world.stack.share("a", stream);
  CHECK_FALSE(world.stack.due());
  CHECK(world.end().asked == Interruption::kTimeout);
}

TEST_CASE("a task that swallows its end is announced once") {
  Escalation task;
  std::size_t announced = 0;
  for (std::int64_t now = kStart; now <= kStart + 20 * kSecond; now += kSecond) {
    CHECK_FALSE(task.told_lately(now));
    task.told(Interruption::kTimeout, now);
    if (task.stick(kStart, kGrace, now)) announced += now == kStart + kGrace ? 1 : 100;
  }
  CHECK(announced == 1);
  CHECK(task.phase() == Phase::kStuck);
}

TEST_CASE("the loop is not interrupted for a task that has ended before that could be done") {
  World world;
  world.begin_loop();
  Escalation task;
  const Stack::Step step{task, kStart + kMs};
  world.stack.set_task_deadline(kStart + kMs);
  world.pass(kSecond);
  CHECK(world.stack.due());
  SUBCASE("it was the only one") { world.stack.set_task_deadline(kForever); }
  SUBCASE("another one is late later") { world.stack.set_task_deadline(kStart + 10 * kSecond); }
  CHECK(world.deliver(&step) == Stack::Delivery::kNothing);
}

TEST_CASE("a loop that is stopped stays late, whatever its tasks are") {
  World world;
  world.begin_loop();
  world.stop();
  world.stack.set_task_deadline(kForever);
  CHECK(world.raises());
  CHECK(count(world.pass(kGrace + kSecond), Kind::kStuck) == 1);
}
