#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace erlang_python {

/// A part of the segment file: docs/design.md, "Large values".
struct Segment {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// Binaries of at least this size leave the frames. Below it a pipe is as fast (tools/bench values).
constexpr std::size_t kLargeBytes = 128 * 1024;

/// Where a TermWriter puts the large binaries of a term that goes to Erlang. Any thread.
class SegmentStore {
 public:
  virtual ~SegmentStore() = default;
  /// A segment with a copy of these bytes; nullopt when there is no room.
  virtual std::optional<Segment> put(std::span<const std::uint8_t> bytes) = 0;
  /// It was never sent.
  virtual void drop(const Segment& segment) = 0;
  /// Stands in the frame for a binary of this value. Nothing that Python code makes can be taken for it.
  virtual std::uint32_t new_token() = 0;
};

}  // namespace erlang_python
