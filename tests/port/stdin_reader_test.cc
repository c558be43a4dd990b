// Whoever reads stdin is told of its end as of a frame.
#include "runtime/stdin_reader.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>

using namespace erlang_python;

namespace {

class Asleep final : public Sleeper {
 public:
  ContextId context() const override { return 7; }
  void wake() override {}
};

/// At the end of the input somebody is to be woken.
class Ends final : public Dispatcher {
 public:
  void dispatch(Frame, ContextId, Batch&) override {}
  void refused_frame(std::size_t) override {}
  void input_ended(ContextId, Batch& batch) override { batch.asleep.push_back(std::make_shared<Asleep>()); }
};

}  // namespace

TEST_CASE("the end of the input is something that the reader has to look after") {
  std::array<int, 2> ends{};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
  UniqueFd write_end(ends[1]);
  StdinReader reader{UniqueFd(ends[0]), FrameParser()};
  Ends dispatcher;
  Batch batch;
  reader.read_once(dispatcher, 0, batch);
  CHECK_FALSE(batch.any);
  write_end = UniqueFd();
  reader.read_once(dispatcher, 0, batch);
  CHECK(batch.any);
  CHECK(batch.asleep.size() == 1);
  CHECK(reader.fd() == -1);
}
