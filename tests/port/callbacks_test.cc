// Answers reach whoever waits for them, numbers of chains grow, and batches of messages are frames that Erlang can
// read.
#include "callback/callbacks.h"

#include <doctest/doctest.h>

#include <thread>

#include "runtime/message_batch.h"

using namespace erlang_python;

namespace {

Answer answer(std::size_t body) { return Answer{Frame(), body}; }

}  // namespace

TEST_CASE("an answer reaches the thread that waits, and only one that waits") {
  Callbacks callbacks({});
  const std::uint64_t first = callbacks.begin_thread(7, 0);
  const std::uint64_t second = callbacks.begin_thread(8, 0);
  CHECK_FALSE(Callbacks::is_context_id(first));
  std::thread reader([&] {
    callbacks.deliver(second, answer(2));
    callbacks.deliver(first + second, answer(9));  // nobody's
    callbacks.deliver(first, answer(1));
  });
  CHECK(std::get<Answer>(callbacks.await(first)).body == 1);
  CHECK(std::get<Answer>(callbacks.await(second)).body == 2);
  CHECK_FALSE(callbacks.forget(first));
  reader.join();
}

TEST_CASE("nested requests go to the thread that began their chain, while it waits, if the interpreter is the same") {
  Callbacks callbacks({});
  const std::uint64_t id = callbacks.begin_thread(7, 0);
  Request request;
  request.message.context = 3;
  request.message.chain = 8;
  CHECK_FALSE(callbacks.offer(request, true));
  request.message.chain = 7;
  request.message.env = 5;
  CHECK_FALSE(callbacks.offer(request, false));
  CHECK(callbacks.offer(request, true));
  callbacks.deliver(id, answer(1));
  CHECK(std::get<Request>(callbacks.await(id)).message.env == 5);
  CHECK_FALSE(callbacks.offer(request, true));
  CHECK(std::get<Answer>(callbacks.await(id)).body == 1);
  CHECK_FALSE(callbacks.offer(request, true));
}

TEST_CASE("each thread that works for a request gets what its own callback asks for") {
  Callbacks callbacks({});
  const std::uint64_t chain = callbacks.new_chain();
  const std::uint64_t lines[] = {callbacks.new_line(chain), callbacks.new_line(chain)};
  const std::uint64_t ids[] = {callbacks.begin_thread(lines[0], 0), callbacks.begin_thread(lines[1], 0)};
  Request request;
  request.message.chain = chain;
  CHECK_FALSE(callbacks.offer(request, true));
  for (const int i : {0, 1}) {
    request.message.chain = lines[i];
    request.message.env = static_cast<std::uint64_t>(i) + 1;
    CHECK(callbacks.offer(request, true));
  }
  for (const int i : {0, 1}) {
    CHECK(std::get<Request>(callbacks.await(ids[i])).message.env == static_cast<std::uint64_t>(i) + 1);
  }
  CHECK(callbacks.new_chain() > lines[0]);
}

TEST_CASE("a thread that waits can be woken, and gives back what it has not served when it gives up") {
  Callbacks callbacks({});
  const std::uint64_t id = callbacks.begin_thread(7, 0);
  std::thread waker([&] { callbacks.wake(id); });
  CHECK(std::holds_alternative<Callbacks::Woken>(callbacks.await(id)));
  waker.join();
  Request request;
  request.message.chain = 7;
  request.message.env = 5;
  CHECK(callbacks.offer(request, true));
  const auto left = callbacks.give_up(id);
  REQUIRE(left.size() == 1);
  CHECK(left.front().message.env == 5);
  CHECK_FALSE(callbacks.forget(id));
  CHECK_FALSE(callbacks.offer(request, true));
  callbacks.wake(id);
  callbacks.deliver(id, answer(1));
}

TEST_CASE("answers for coroutines wait in their inbox until they are taken") {
  Callbacks callbacks({});
  auto inbox = std::make_shared<Inbox>();
  const std::uint64_t kept = callbacks.begin_in(inbox);
  const std::uint64_t forgotten = callbacks.begin_in(inbox);
  CHECK(callbacks.forget(forgotten));
  callbacks.deliver(forgotten, answer(1));
  callbacks.deliver(kept, answer(2));
  const auto taken = inbox->take().answers;
  REQUIRE(taken.size() == 1);
  CHECK(taken.front().first == kept);
  CHECK(taken.front().second.body == 2);
  CHECK(inbox->take().answers.empty());
}

TEST_CASE("nested requests go to the loop of a thread while one of its calls in their chain waits") {
  Callbacks callbacks({});
  auto inbox = std::make_shared<Inbox>();
  const auto offered = [&callbacks](std::uint64_t chain, ContextId context, bool main) {
    Request request;
    request.message.context = context;
    request.message.chain = chain;
    return callbacks.offer(request, main);
  };
  const std::uint64_t first = callbacks.begin_in_thread(inbox, 7, 3);
  const std::uint64_t second = callbacks.begin_in_thread(inbox, 7, 3);
  const std::uint64_t other = callbacks.begin_in_thread(inbox, 8, 3);
  callbacks.begin_in(inbox);
  CHECK(offered(7, 3, false));
  CHECK(offered(8, 3, false));
  CHECK_FALSE(offered(7, 4, false));
  CHECK_FALSE(offered(7, 3, true));
  CHECK_FALSE(offered(9, 3, false));
  CHECK_FALSE(offered(0, 3, false));
  CHECK(callbacks.forget(second));
  CHECK(offered(7, 3, false));
  callbacks.deliver(first, answer(1));
  CHECK_FALSE(offered(7, 3, false));
  CHECK(inbox->take_nested(8).size() == 1);
  CHECK(inbox->has_nested());
  const auto mail = inbox->take();
  CHECK(mail.nested.size() == 2);
  CHECK(mail.answers.size() == 1);
  CHECK_FALSE(inbox->has_nested());
  CHECK(callbacks.forget(other));
  CHECK_FALSE(offered(8, 3, false));
}

TEST_CASE("of a thread that waits and a loop of the same chain the one that began last serves") {
  Callbacks callbacks({});
  auto inbox = std::make_shared<Inbox>();
  Request request;
  request.message.chain = 7;
  const std::uint64_t outer = callbacks.begin_thread(7, 0);
  const std::uint64_t loop = callbacks.begin_in_thread(inbox, 7, 0);
  CHECK(callbacks.offer(request, true));
  CHECK(inbox->take().nested.size() == 1);
  const std::uint64_t inner = callbacks.begin_thread(7, 0);
  CHECK(callbacks.offer(request, true));
  CHECK(std::holds_alternative<Request>(callbacks.await(inner)));
  CHECK(callbacks.forget(inner));
  CHECK(callbacks.forget(loop));
  CHECK(callbacks.offer(request, true));
  CHECK(std::holds_alternative<Request>(callbacks.await(outer)));
}

TEST_CASE("numbers of callbacks are their own, and those of contexts can be told from the others") {
  Callbacks callbacks({});
  CHECK(Callbacks::is_context_id(callbacks.new_context_id()));
  CHECK(callbacks.new_context_id() != callbacks.new_context_id());
  std::uint64_t before = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t chain = callbacks.new_chain();
    CHECK(chain > before);
    CHECK(chain < (std::uint64_t{1} << 63));
    before = chain;
  }
}

TEST_CASE("registered names are those that were set last") {
  Callbacks callbacks({"a", "b"});
  CHECK(callbacks.is_registered("a"));
  callbacks.set_functions({"c"});
  CHECK_FALSE(callbacks.is_registered("a"));
  CHECK(callbacks.functions() == std::vector<std::string>{"c"});
}

TEST_CASE("a batch of messages is a frame with their number and each behind its length") {
  MessageBatch batch;
  CHECK(batch.empty());
  const std::uint8_t one[] = {131, 97, 1};
  const std::uint8_t two[] = {131, 97, 2};
  batch.add(one);
  batch.add(two);
  const Bytes frame = batch.finish();
  REQUIRE(frame.size() == batch.size());
  CHECK(read_be32(frame.data()) == frame.size() - kLengthBytes);
  TermReader reader(frame.subspan(kLengthBytes));
  CHECK(reader.read_version());
  CHECK(reader.read_tuple_header() == 2);
  CHECK(reader.read_int64() == static_cast<int>(Notice::kMessages));
  CHECK(reader.read_int64() == 2);
  const std::uint8_t* rest = frame.data() + kLengthBytes + reader.position();
  CHECK(read_be32(rest) == 3);
  CHECK(rest[4 + 2] == 1);
  CHECK(read_be32(rest + 7) == 3);
  batch.clear();
  CHECK(batch.empty());
}
