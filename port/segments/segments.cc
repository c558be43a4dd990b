#include "segments/segments.h"

#include <cstring>

#include "protocol/messages.h"
#include "runtime/stdout_writer.h"

namespace erlang_python {
namespace {

bool is_erlangs(const Segment& segment) {
  return segment.bytes > 0 && segment.bytes <= SegmentFile::kOurs &&
         segment.offset <= SegmentFile::kOurs - segment.bytes;
}

}  // namespace

Segments::Segments(std::unique_ptr<SegmentFile> file, std::size_t idle_bytes, std::size_t most_bytes,
                   StdoutWriter& writer)
    : file_(std::move(file)),
      writer_(writer),
      ours_(SegmentFile::kOurs, SegmentFile::kBytes, idle_bytes, most_bytes),
      tokens_(std::random_device{}()) {}

std::optional<Segment> Segments::put(Bytes bytes) {
  std::optional<std::uint64_t> offset;
  {
    const MutexLock lock(mu_);
    offset = ours_.take(bytes.size());
  }
  if (!offset) return std::nullopt;
  const Segment segment{*offset, bytes.size()};
  const auto extent = file_->map(segment);
  if (!extent) {
    drop(segment);
    return std::nullopt;
  }
  std::memcpy(extent->data(), bytes.data(), bytes.size());
  return segment;
}

void Segments::drop(const Segment& segment) {
  const std::uint64_t offset = segment.offset;
  read_by_erlang({&offset, 1});
}

std::uint32_t Segments::new_token() {
  const MutexLock lock(mu_);
  return static_cast<std::uint32_t>(tokens_() & 0x7FFFFFFF);
}

void Segments::read_by_erlang(std::span<const std::uint64_t> offsets) {
  std::vector<Segment> discarded;
  {
    const MutexLock lock(mu_);
    for (const std::uint64_t offset : offsets) static_cast<void>(ours_.give_back(offset, discarded));
    // Under the lock: nobody may have taken it again meanwhile.
    for (const Segment& segment : discarded) file_->discard(segment);
  }
}

Result<std::shared_ptr<ReceivedSegments>> Segments::receive(Bytes key, std::span<const Segment> segments) {
  std::vector<std::shared_ptr<ReceivedSegment>> all;
  all.reserve(segments.size());
  for (const Segment& segment : segments) {
    if (!is_erlangs(segment)) return Error{"a segment outside of Erlang's part of the file"};
    const auto extent = file_->map(segment);
    const Bytes bytes = extent ? Bytes{extent->data(), segment.bytes} : Bytes{};
    all.push_back(std::make_shared<ReceivedSegment>(*this, segment.offset, bytes, extent));
  }
  return std::make_shared<ReceivedSegments>(key, std::move(all));
}

void Segments::give_back(std::span<const std::uint64_t> offsets) {
  if (offsets.empty()) return;
  TermWriter out;
  begin_notice(out, Notice::kSegmentsFree, 1);
  out.list_header(offsets.size());
  for (const std::uint64_t offset : offsets) out.integer(static_cast<std::int64_t>(offset));
  out.nil();
  finish_frame(out);
  writer_.send(out.bytes());
}

bool Segments::discard(const Segment& segment) {
  if (!is_erlangs(segment)) return false;
  file_->discard(segment);
  return true;
}

}  // namespace erlang_python
