// Requests leave a mailbox in arrival order, a sleeper is always woken, and expired requests can be taken out.
#include "context/mailbox.h"

#include <doctest/doctest.h>

#include <thread>

using namespace erlang_python;

namespace {

Request request(std::uint64_t number) {
  Request made;
  made.message.env = number;
  return made;
}

}  // namespace

TEST_CASE("arrival order") {
  Mailbox mailbox;
  for (std::uint64_t i = 0; i < 10; ++i) CHECK_FALSE(mailbox.push(request(i)));
  CHECK(mailbox.size() == 10);
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(mailbox.pop()->message.env == i);
  CHECK(mailbox.empty());
  CHECK_FALSE(mailbox.pop());
}

TEST_CASE("requests taken out leave the order of the rest") {
  Mailbox mailbox;
  for (std::uint64_t i = 0; i < 10; ++i) CHECK_FALSE(mailbox.push(request(i)));
  const auto removed = mailbox.remove_if([](const Request& r) { return r.message.env % 2 == 0; });
  CHECK(removed.size() == 5);
  CHECK(mailbox.size() == 5);
  for (std::uint64_t i = 1; i < 10; i += 2) CHECK(mailbox.pop()->message.env == i);
}

TEST_CASE("no push is slept through") {
  Mailbox mailbox;
  constexpr std::uint64_t kRequests = 20'000;
  std::thread consumer([&] {
    for (std::uint64_t expected = 0; expected < kRequests;) {
      if (auto next = mailbox.pop()) {
        CHECK(next->message.env == expected);
        ++expected;
      } else {
        mailbox.sleep(-1);
      }
    }
  });
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    if (mailbox.push(request(i))) mailbox.wake();
  }
  consumer.join();
  CHECK(mailbox.empty());
}
