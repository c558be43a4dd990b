#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "etf/received_segments.h"
#include "etf/segment_store.h"
#include "segments/extents.h"
#include "segments/segment_file.h"

namespace erlang_python {

class StdoutWriter;

/// Large binaries on their way between Erlang and this process, in memory that both share. Any thread.
///
/// Who has written a segment says when it may be used again, after the other side has said that it has read it.
class Segments final : public SegmentStore, public SegmentLender {
 public:
  /// `idle_bytes`: memory that what we have written may keep when nobody needs it; `most_bytes`: that may wait for
  /// Erlang at once.
  Segments(std::unique_ptr<SegmentFile> file, std::size_t idle_bytes, std::size_t most_bytes, StdoutWriter& writer);
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

  SegmentFile& file() const { return *file_; }

  // --- To Erlang.

  std::optional<Segment> put(Bytes bytes) override;
  void drop(const Segment& segment) override;
  std::uint32_t new_token() override;
  /// Erlang has read those that begin there.
  void read_by_erlang(std::span<const std::uint64_t> offsets);

  // --- From Erlang.

  /// Of a frame; an error for what is not in Erlang's part of the file.
  Result<std::shared_ptr<ReceivedSegments>> receive(Bytes key, std::span<const Segment> segments);
  void give_back(std::span<const std::uint64_t> offsets) override;
  /// Gives the memory there back to the kernel. False: it is not in Erlang's part of the file.
  [[nodiscard]] bool discard(const Segment& segment);

 private:
  const std::unique_ptr<SegmentFile> file_;
  StdoutWriter& writer_;

  Mutex mu_;
  Extents ours_ GUARDED_BY(mu_);
  std::mt19937_64 tokens_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
