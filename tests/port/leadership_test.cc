// At every instant at most one thread may touch the reader, whoever leads, steals or gives up.
#include "runtime/leadership.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

using namespace erlang_python;

TEST_CASE("an idle loop gives way to a context, a leader to nobody") {
  Leadership leadership;
  CHECK(leadership.snapshot().loop);
  REQUIRE(leadership.try_lead(1));
  CHECK_FALSE(leadership.snapshot().loop);
  CHECK_FALSE(leadership.try_lead(2));
  CHECK_FALSE(leadership.try_lead(1));
  CHECK_FALSE(leadership.loop_begin_reading());
}

TEST_CASE("a leader that is in Python is stolen from, by a context or the loop") {
  Leadership leadership;
  REQUIRE(leadership.try_lead(1));
  leadership.begin_running(1);
  CHECK(leadership.snapshot().running);
  REQUIRE(leadership.try_lead(2));
  CHECK_FALSE(leadership.try_lead(1));
  leadership.begin_running(2);
  const auto turn = leadership.snapshot().turn;
  REQUIRE(leadership.loop_steal(turn));
  CHECK(leadership.snapshot().loop);
  CHECK(leadership.loop_begin_reading());
  CHECK_FALSE(leadership.try_lead(1));
  leadership.loop_end_reading();
  CHECK(leadership.try_lead(1));
}

TEST_CASE("the loop does not steal from a leader that has come back and gone in again") {
  Leadership leadership;
  REQUIRE(leadership.try_lead(1));
  leadership.begin_running(1);
  const auto turn = leadership.snapshot().turn;
  REQUIRE(leadership.try_lead(1));
  leadership.begin_running(1);
  CHECK_FALSE(leadership.loop_steal(turn));
  CHECK(leadership.loop_steal(leadership.snapshot().turn));
}

TEST_CASE("a heir that was handed the leadership takes it, and so may another") {
  Leadership leadership;
  REQUIRE(leadership.try_lead(1));
  leadership.begin_running(2);
  CHECK(leadership.try_lead(3));
}

TEST_CASE("threads that fight for the leadership never read at the same time") {
  Leadership leadership;
  int unguarded = 0;  // what the parser is to the reader: TSan and the count find two owners
  std::atomic<int> readers = 0;
  std::atomic<bool> overlap = false;
  std::atomic<int> turns = 0;
  constexpr int kTurns = 20'000;
  const auto read = [&] {
    if (readers.fetch_add(1) != 0) overlap = true;
    ++unguarded;
    readers.fetch_sub(1);
    turns.fetch_add(1);
  };
  std::vector<std::thread> threads;
  for (ContextId id = 1; id <= 3; ++id) {
    threads.emplace_back([&, id] {
      while (turns.load() < kTurns) {
        if (!leadership.try_lead(id)) continue;
        read();
        if (turns.load() % 7 == 0) {
          leadership.leave_to_loop();
        } else {
          leadership.begin_running(turns.load() % 3 == 0 ? id % 3 + 1 : id);
        }
      }
    });
  }
  threads.emplace_back([&] {
    while (turns.load() < kTurns) {
      const auto now = leadership.snapshot();
      if (now.running) static_cast<void>(leadership.loop_steal(now.turn));
      if (!leadership.loop_begin_reading()) continue;
      read();
      leadership.loop_end_reading();
    }
  });
  for (auto& thread : threads) thread.join();
  CHECK_FALSE(overlap.load());
  CHECK(unguarded == turns.load());
}
