// Large binaries are put aside of a term, count for its limits, and go back when they are not sent; those that come are
// there until nobody needs them, and then Erlang is told.
#include "segments/segments.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "etf/term_writer.h"
#include "protocol/messages.h"
#include "protocol/piece_assembler.h"
#include "runtime/stdout_writer.h"
#include "sanitized.h"

using namespace erlang_python;

namespace {

constexpr std::size_t kMiB = 1024 * 1024;

std::size_t address_space_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// Keeps count, and has so much room.
class Store final : public SegmentStore {
 public:
  explicit Store(std::size_t room) : room_(room) {}
  std::optional<Segment> put(Bytes bytes) override {
    if (used + bytes.size() > room_) return std::nullopt;
    used += bytes.size();
    return Segment{next_++ * kMiB, bytes.size()};
  }
  void drop(const Segment& segment) override { used -= segment.bytes; }
  std::uint32_t new_token() override { return 77; }

  std::size_t used = 0;

 private:
  std::size_t room_;
  std::uint64_t next_ = 0;
};

struct Port {
  UniqueFd read_end;
  std::unique_ptr<StdoutWriter> writer;
  std::unique_ptr<Segments> segments;

  Port() {
    std::array<int, 2> ends{};
    REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    read_end = UniqueFd(ends[0]);
    writer = std::make_unique<StdoutWriter>(UniqueFd(ends[1]));
    auto file = SegmentFile::create();
    REQUIRE(file);
    segments = std::make_unique<Segments>(std::move(*file), kMiB, 16 * kMiB, *writer);
  }

  /// The offsets in the next SEGMENTS_FREE.
  std::vector<std::int64_t> freed() const {
    std::array<std::uint8_t, 4096> bytes{};
    const ssize_t n = read(read_end.get(), bytes.data(), bytes.size());
    if (n <= 0) return {};
    TermReader reader(Bytes{bytes.data() + kLengthBytes, read_be32(bytes.data())});
    REQUIRE(reader.read_version());
    REQUIRE(reader.read_tuple_header() == std::size_t{2});
    REQUIRE(reader.read_int64() == static_cast<std::int64_t>(Notice::kSegmentsFree));
    const auto count = reader.read_list_header();
    REQUIRE(count);
    std::vector<std::int64_t> offsets;
    for (std::size_t i = 0; i < *count; ++i) offsets.push_back(reader.read_int64().value());
    return offsets;
  }
};

}  // namespace

TEST_CASE("a large binary leaves the term, a small one stays") {
  Store store(10 * kMiB);
  TermWriter out;
  out.put_large_into(&store);
  const std::vector<std::uint8_t> large(kLargeBytes, 1);
  out.tuple_header(2);
  out.binary(large);
  out.binary(Bytes(large).first(kLargeBytes - 1));
  REQUIRE(out.aside().parts().size() == 1);
  CHECK(store.used == kLargeBytes);
  CHECK(out.size() < kLargeBytes + 100);
  CHECK(out.wanted_bytes() == out.size() + kLargeBytes);
  TermReader reader(out.bytes());
  CHECK(reader.read_tuple_header() == std::size_t{2});
  CHECK(reader.read_list_header() == std::size_t{1});
  CHECK(reader.read_int64() == 77);
  CHECK(reader.read_int64() == 0);
  CHECK(reader.read_binary()->size() == kLargeBytes - 1);
  CHECK(reader.at_end());
}

TEST_CASE("what was put aside and not sent goes back") {
  Store store(10 * kMiB);
  const std::vector<std::uint8_t> large(kMiB, 1);
  {
    TermWriter out;
    out.put_large_into(&store);
    out.list_header(2);
    out.binary(large);
    const std::size_t between = out.size();
    out.binary(large);
    CHECK(store.used == 2 * kMiB);
    out.truncate(between);
    CHECK(store.used == kMiB);
    TermWriter moved = std::move(out);
    CHECK(store.used == kMiB);
  }
  CHECK(store.used == 0);
}

TEST_CASE("what was put aside counts for the limits") {
  Store store(10 * kMiB);
  TermWriter out(2 * kMiB);
  out.put_large_into(&store);
  const std::vector<std::uint8_t> large(kMiB, 1);
  out.binary(large);
  CHECK_FALSE(out.overflowed());
  out.binary(large);
  CHECK(out.overflowed());
  CHECK(out.excess(0, 0).bytes > 2 * kMiB);
}

TEST_CASE("without room a large binary stays in the term") {
  Store store(kMiB);
  TermWriter out;
  out.put_large_into(&store);
  const std::vector<std::uint8_t> large(kMiB, 1);
  out.binary(large);
  out.binary(large);
  CHECK(out.aside().parts().size() == 1);
  CHECK(out.size() > kMiB);
}

TEST_CASE("keys are whole") {
  Store store(10 * kMiB);
  TermWriter out;
  out.put_large_into(&store);
  const std::vector<std::uint8_t> large(kMiB, 1);
  const bool before = out.keep_large(true);
  out.binary(large);
  CHECK(store.used == 0);
  out.keep_large(before);
  out.binary(large);
  CHECK(store.used == kMiB);
}

TEST_CASE("a segment keeps its bytes until it is read, and the next one has its place") {
  const Port port;
  const std::vector<std::uint8_t> ones(kMiB, 1);
  const std::vector<std::uint8_t> twos(kMiB, 2);
  const auto first = port.segments->put(ones);
  const auto second = port.segments->put(twos);
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->offset >= SegmentFile::kOurs);
  CHECK(std::memcmp(port.segments->file().map(*first)->data(), ones.data(), kMiB) == 0);
  CHECK(port.segments->file().stored_bytes() >= 2 * kMiB);
  port.segments->read_by_erlang({&first->offset, 1});
  CHECK(port.segments->put(twos)->offset == first->offset);
  // What is not ours is left alone.
  const std::uint64_t nothing = 4096;
  port.segments->read_by_erlang({&nothing, 1});
}

TEST_CASE("memory beyond what may be idle goes back to the kernel") {
  const Port port;
  const std::vector<std::uint8_t> large(8 * kMiB, 1);
  const auto segment = port.segments->put(large);
  REQUIRE(segment);
  CHECK(port.segments->file().stored_bytes() >= 8 * kMiB);
  port.segments->read_by_erlang({&segment->offset, 1});
  CHECK(port.segments->file().stored_bytes() <= kMiB);
}

TEST_CASE("memory goes back also when the descriptor was closed, and another file has its number") {
  const Port port;
  const std::vector<std::uint8_t> large(8 * kMiB, 1);
  const auto segment = port.segments->put(large);
  REQUIRE(segment);
  const int fd = port.segments->file().fd();
  const int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  REQUIRE(dup2(port.read_end.get(), fd) == fd);
  port.segments->read_by_erlang({&segment->offset, 1});
  CHECK(port.segments->file().stored_bytes() == 0);
  REQUIRE(dup2(kept, fd) == fd);
  close(kept);
  CHECK(port.segments->file().stored_bytes() <= kMiB);
}

TEST_CASE("the address space has what is used, and not the whole file" * doctest::skip(kSanitized)) {
  const Port port;
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  const std::vector<std::uint8_t> large(8 * kMiB, 1);
  // So much more than now: room for the segment.
  const rlimit limit{address_space_bytes() + 64 * kMiB, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
  const auto file = SegmentFile::create();
  const auto segment = port.segments->put(large);
  // So little that unmapping the segment is not enough.
  const rlimit full{address_space_bytes() - 32 * kMiB, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_AS, &full) == 0);
  const bool has_room = port.segments->put(large).has_value();
  const std::array<std::uint8_t, 1> key{1};
  const Segment erlangs{0, 8 * kMiB};
  auto received = port.segments->receive(key, {&erlangs, 1});
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(file);
  CHECK(segment);
  CHECK_FALSE(has_room);
  // It comes all the same, so that whoever waits for it is told, and goes back.
  REQUIRE(received);
  CHECK_FALSE((*received)->at(0)->is_mapped());
  (*received)->decoded();
  CHECK(port.freed() == std::vector<std::int64_t>{0});
  CHECK(port.segments->put(large));
}

TEST_CASE("extents that nobody uses make room in the address space" * doctest::skip(kSanitized)) {
  const Port port;
  const std::vector<std::uint8_t> large(kMiB, 1);
  const auto idle = port.segments->put(large);
  REQUIRE(idle);
  port.segments->read_by_erlang({&idle->offset, 1});
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  const rlimit full{address_space_bytes(), before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_AS, &full) == 0);
  const bool has_room = port.segments->put(Bytes(large).first(kMiB / 2)).has_value();
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(has_room);
}

TEST_CASE("the file cannot be executed where the kernel can see to that, and has no low descriptor") {
  const Port port;
  const int fd = port.segments->file().fd();
  CHECK(fd >= 100);
  constexpr unsigned kNoExecSeal = 8;
  const int probe = memfd_create("probe", MFD_CLOEXEC | kNoExecSeal);
  if (probe < 0) return;
  close(probe);
  struct stat info {};
  REQUIRE(fstat(fd, &info) == 0);
  CHECK((info.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0);
  CHECK(fchmod(fd, S_IRWXU) != 0);
}

TEST_CASE("the segments of pieces that are dropped are given back") {
  const Port port;
  const std::array<std::uint8_t, 1> key{1};
  const Segment segment{4096, 10};
  const std::vector<std::uint8_t> piece(kMiB, 1);
  PieceAssembler pieces(10);
  CHECK(pieces.add(key, piece, 0));
  pieces.keep_segments(key, *port.segments->receive(key, {&segment, 1}));
  CHECK(port.freed().empty());
  SUBCASE("too large") { CHECK_FALSE(pieces.add(key, piece, 0)); }
  SUBCASE("paused for a minute") { pieces.forget_abandoned(60'000'000'001); }
  CHECK(port.freed() == std::vector<std::int64_t>{4096});
  CHECK_FALSE(pieces.finish(key, piece));
}

TEST_CASE("the segments of pieces that are whole are in the frame") {
  const Port port;
  const std::array<std::uint8_t, 1> key{1};
  const Segment segment{4096, 10};
  PieceAssembler pieces(10);
  CHECK(pieces.add(key, key, 0));
  pieces.keep_segments(key, *port.segments->receive(key, {&segment, 1}));
  auto whole = pieces.finish(key, key);
  REQUIRE(whole);
  CHECK(whole->segments() != nullptr);
  CHECK(port.freed().empty());
  whole.reset();
  CHECK(port.freed() == std::vector<std::int64_t>{4096});
}

TEST_CASE("nobody can change the size of the file") {
  const Port port;
  CHECK(ftruncate(port.segments->file().fd(), 0) != 0);
  CHECK(ftruncate(port.segments->file().fd(), static_cast<off_t>(SegmentFile::kBytes * 2)) != 0);
}

TEST_CASE("what came is given back at once when its terms are decoded, but for what is held") {
  const Port port;
  const std::array<std::uint8_t, 2> key{1, 2};
  const std::array<Segment, 3> segments{Segment{0, 10}, Segment{kMiB, 20}, Segment{2 * kMiB, 30}};
  auto received = port.segments->receive(key, segments);
  REQUIRE(received);
  CHECK((*received)->has_key(key));
  CHECK_FALSE((*received)->has_key(Bytes(key).first(1)));
  CHECK((*received)->at(3) == nullptr);
  CHECK((*received)->at(-1) == nullptr);
  auto held = (*received)->at(1);
  REQUIRE(held);
  CHECK(held->bytes().size() == 20);
  (*received)->decoded();
  CHECK(port.freed() == std::vector<std::int64_t>{0, 2 * kMiB});
  (*received)->decoded();
  CHECK(port.freed().empty());
  received->reset();
  CHECK(port.freed().empty());
  held.reset();
  CHECK(port.freed() == std::vector<std::int64_t>{kMiB});
}

TEST_CASE("what came and was never decoded is given back all the same") {
  const Port port;
  const std::array<std::uint8_t, 1> key{1};
  const Segment segment{4096, 10};
  { const auto received = port.segments->receive(key, {&segment, 1}); }
  CHECK(port.freed() == std::vector<std::int64_t>{4096});
}

TEST_CASE("what is outside of Erlang's half is refused") {
  const Port port;
  const std::array<std::uint8_t, 1> key{1};
  for (const Segment& segment : {Segment{SegmentFile::kOurs, 1}, Segment{SegmentFile::kOurs - 1, 2}, Segment{0, 0},
                                 Segment{1, UINT64_MAX}, Segment{UINT64_MAX, 1}}) {
    CHECK_FALSE(port.segments->receive(key, {&segment, 1}));
    CHECK_FALSE(port.segments->discard(segment));
  }
  CHECK(port.segments->discard({0, 4096}));
}
