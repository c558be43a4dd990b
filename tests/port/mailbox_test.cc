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

constexpr std::uint64_t chain_of_age(std::uint64_t age) { return age << kLineBits; }

Request in_chain(std::uint64_t number, std::uint64_t age) {
  Request made = request(number);
  made.message.chain = chain_of_age(age);
  return made;
}

/// Gave way to others and comes back.
Request returning(std::uint64_t number, std::uint64_t age) {
  Request made = in_chain(number, age);
  made.frame = Frame(1);
  made.rest.work = PyRef::borrow(Py_None);
  return made;
}

Request result(std::uint64_t callback) {
  Request made;
  made.message.operation = Operation::kResult;
  made.message.callback = callback;
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

TEST_CASE("requests of a call chain and results go before others") {
  Mailbox mailbox;
  CHECK_FALSE(mailbox.push(request(1)));
  CHECK_FALSE(mailbox.push(in_chain(2, 7)));
  CHECK_FALSE(mailbox.push(result(3)));
  CHECK(mailbox.pop()->message.env == 2);
  CHECK(mailbox.pop()->message.callback == 3);
  CHECK(mailbox.pop()->message.env == 1);
}

TEST_CASE("who waits for a callback gets results and chains that are not newer than its own") {
  Mailbox mailbox;
  const Wanted wanted{true, line_of_chain(chain_of_age(10), 3)};
  CHECK_FALSE(mailbox.push(request(1)));
  CHECK_FALSE(mailbox.push(in_chain(2, 11)));
  CHECK_FALSE(mailbox.has(wanted));
  CHECK_FALSE(mailbox.pop(wanted));
  CHECK_FALSE(mailbox.push(in_chain(3, 10)));
  CHECK_FALSE(mailbox.push(in_chain(4, 9)));
  CHECK_FALSE(mailbox.push(result(5)));
  CHECK(mailbox.has(wanted));
  CHECK(mailbox.pop(wanted)->message.env == 3);
  CHECK(mailbox.pop(wanted)->message.env == 4);
  CHECK(mailbox.pop(wanted)->message.callback == 5);
  CHECK_FALSE(mailbox.pop(wanted));
  CHECK(mailbox.size() == 2);
}

TEST_CASE("it knows whether a CANCEL waits") {
  Mailbox mailbox;
  const auto cancel = [] {
    Request made;
    made.message.operation = Operation::kCancel;
    return made;
  };
  CHECK_FALSE(mailbox.push(request(1)));
  CHECK_FALSE(mailbox.has_cancels());
  for (int i = 0; i < 3; ++i) CHECK_FALSE(mailbox.push(cancel()));
  CHECK(mailbox.has_cancels());
  CHECK(mailbox.pop()->message.operation == Operation::kCancel);
  CHECK(mailbox.has_cancels());
  const auto removed = mailbox.remove_if([](const Request& r) { return r.message.operation == Operation::kCancel; });
  CHECK(removed.size() == 2);
  CHECK_FALSE(mailbox.has_cancels());
  CHECK(mailbox.pop()->message.env == 1);
}

TEST_CASE("an alarm ends the wait for a callback, also when it comes before") {
  Mailbox mailbox;
  mailbox.alarm();
  mailbox.sleep({}, {true, chain_of_age(1)});
  CHECK(mailbox.take_alarm());
  CHECK_FALSE(mailbox.take_alarm());
  std::thread other([&] { mailbox.alarm(); });
  while (!mailbox.take_alarm()) mailbox.sleep({}, {true, chain_of_age(1)});
  other.join();
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
        mailbox.sleep({});
      }
    }
  });
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    if (mailbox.push(request(i))) mailbox.wake();
  }
  consumer.join();
  CHECK(mailbox.empty());
}

TEST_CASE("what gave way to others comes after them, and is found by a level that waits for its chain") {
  Mailbox mailbox;
  CHECK_FALSE(mailbox.push(request(1)));
  CHECK_FALSE(mailbox.push(returning(2, 7)));
  CHECK_FALSE(mailbox.push(returning(3, 0)));
  CHECK_FALSE(mailbox.push(in_chain(4, 8)));
  CHECK_FALSE(mailbox.has({true, chain_of_age(6)}));
  CHECK_FALSE(mailbox.pop({true, chain_of_age(6)}));
  CHECK(mailbox.has({true, chain_of_age(7)}));
  CHECK(mailbox.pop({true, chain_of_age(7)})->message.env == 2);
  CHECK_FALSE(mailbox.has({true, chain_of_age(7)}));
  CHECK(mailbox.pop()->message.env == 4);
  CHECK(mailbox.pop()->message.env == 1);
  CHECK(mailbox.pop()->message.env == 3);
  CHECK(mailbox.empty());
}

TEST_CASE("what a request that gave way goes on with stays for the context's thread when the request is taken out") {
  Mailbox mailbox;
  CHECK_FALSE(mailbox.push(returning(1, 7)));
  auto removed = mailbox.remove_if([](const Request&) { return true; });
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].message.env == 1);
  CHECK_FALSE(removed[0].rest.work);
  CHECK(mailbox.remove_if([](const Request&) { return true; }).empty());
  CHECK_FALSE(mailbox.has({true, chain_of_age(7)}));
  const auto husk = mailbox.pop();
  REQUIRE(husk);
  CHECK(husk->is_husk());
}
