// A waiter sleeps until something is ready, its deadline has come or it is woken, and no descriptor of others hurts it.
#include "loop/waiter.h"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <thread>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "thread/wake_slot.h"

namespace erlang_python {
namespace {

constexpr std::int64_t kNever = -1;

std::unique_ptr<Waiter> open_waiter() {
  int code = 0;
  auto waiter = Waiter::open(code);
  REQUIRE(code == 0);
  return waiter;
}

struct Pipe {
  Pipe() {
    std::array<int, 2> fds{};
    REQUIRE(pipe(fds.data()) == 0);
    out = UniqueFd(fds[0]);
    in = UniqueFd(fds[1]);
  }
  void fill() const { REQUIRE(write(in.get(), "x", 1) == 1); }

  UniqueFd out;
  UniqueFd in;
};

int ready(Waiter& waiter) {
  std::array<epoll_event, 8> events{};
  return waiter.poll(events);
}

}  // namespace

TEST_CASE("waiter: a wake-up before the sleep ends the sleep, once") {
  auto waiter = open_waiter();
  waiter->wake();
  waiter->wake();
  waiter->sleep(kNever);
  CHECK(waiter->take_wake());
  CHECK_FALSE(waiter->take_wake());
}

TEST_CASE("waiter: a thread that sleeps is woken each time, whenever the wake-up comes") {
  constexpr int kTimes = 20'000;
  auto waiter = open_waiter();
  std::atomic<int> asked = 0;
  std::thread waker([&] {
    for (int i = 1; i <= kTimes; ++i) {
      while (asked.load() < i) std::this_thread::yield();
      waiter->wake();
    }
  });
  for (int i = 1; i <= kTimes; ++i) {
    asked.store(i);
    while (!waiter->take_wake()) waiter->sleep(kNever);
  }
  waker.join();
}

TEST_CASE("waiter: what becomes readable ends the sleep and is found by poll") {
  auto waiter = open_waiter();
  const Pipe pipe;
  REQUIRE(waiter->add(pipe.out.get(), EPOLLIN) == 0);
  CHECK(ready(*waiter) == 0);
  std::thread writer([&] { pipe.fill(); });
  while (ready(*waiter) == 0) waiter->sleep(kNever);
  writer.join();
  CHECK(waiter->remove(pipe.out.get()) == 0);
  CHECK(ready(*waiter) == 0);
}

TEST_CASE("waiter: a deadline ends the sleep, short and long ones, and one that has passed") {
  auto waiter = open_waiter();
  for (const std::int64_t ns : {std::int64_t{-1000}, std::int64_t{0}, 300 * kNsPerUs, 3 * kNsPerMs, 45 * kNsPerMs}) {
    const std::int64_t deadline = now_ns() + ns;
    while (now_ns() < deadline) waiter->sleep(deadline);
    waiter->sleep(deadline);
  }
  // The last deadline, which has come, is not the next sleep's.
  const Pipe pipe;
  REQUIRE(waiter->add(pipe.out.get(), EPOLLIN) == 0);
  std::thread writer([&] { pipe.fill(); });
  while (ready(*waiter) == 0) waiter->sleep(kNever);
  writer.join();
}

TEST_CASE("waiter: descriptors that are closed while they are watched do no harm") {
  auto waiter = open_waiter();
  waiter->sleep(now_ns() + kNsPerMs);  // from here on it opens no descriptors of its own
  int closed = 0;
  {
    const Pipe pipe;
    pipe.fill();
    closed = pipe.out.get();
    REQUIRE(waiter->add(closed, EPOLLIN) == 0);
  }
  CHECK(ready(*waiter) == 0);
  waiter->sleep(now_ns() + kNsPerMs);
  CHECK(waiter->change(closed, EPOLLOUT) == EBADF);
  CHECK(waiter->remove(closed) == EBADF);
  // The number is used again, by something that nobody has added.
  const Pipe other;
  CHECK(waiter->change(closed, EPOLLOUT) == ENOENT);
  CHECK(waiter->add(closed, EPOLLIN) == 0);
}

TEST_CASE("waiter: what is always ready is refused") {
  auto waiter = open_waiter();
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  CHECK(waiter->add(fileno(file), EPOLLIN) == EPERM);
  std::fclose(file);
}

TEST_CASE("waiter: another libuv handle ends the sleep after its callback") {
  auto waiter = open_waiter();
  const UniqueFd bell(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  uv_poll_t watch{};
  int rings = 0;
  watch.data = &rings;
  REQUIRE(uv_poll_init(&waiter->libuv(), &watch, bell.get()) == 0);
  uv_poll_start(&watch, UV_READABLE, [](uv_poll_t* handle, int, int) noexcept {
    ++*static_cast<int*>(handle->data);
    uv_poll_stop(handle);
  });
  waiter->sleep(kNever);
  CHECK(rings == 1);
  uv_close(reinterpret_cast<uv_handle_t*>(&watch), nullptr);
  waiter->wake();
  waiter->sleep(kNever);
}

TEST_CASE("wake slot: wakes what its thread sleeps in, the innermost of nested places, and nothing otherwise") {
  auto outer = open_waiter();
  auto inner = open_waiter();
  WakeSlot& slot = WakeSlot::of_this_thread();
  slot.wake();
  {
    const WakeSlot::Sleep in_outer(*outer);
    {
      const WakeSlot::Sleep in_inner(*inner);
      std::thread([&] { slot.wake(); }).join();
    }
    CHECK(inner->take_wake());
    CHECK_FALSE(outer->take_wake());
    slot.wake();
    CHECK(outer->take_wake());
  }
  slot.wake();
  CHECK_FALSE(outer->take_wake());
}

}  // namespace erlang_python
