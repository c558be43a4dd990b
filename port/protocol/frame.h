#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "base/byte_buffer.h"

namespace erlang_python {

class ReceivedSegments;

/// A large value travels in pieces of this size, so that no frame keeps the small ones behind it waiting.
constexpr std::size_t kMaxPieceBytes = 1024 * 1024;
/// A piece and its header.
constexpr std::size_t kMaxFrameBytes = kMaxPieceBytes + 4096;
/// The length in front of every frame: {packet,4}.
constexpr std::size_t kLengthBytes = 4;

/// Bytes of one frame, without the length in front; owned, so that they may outlive the read buffer and change threads.
class Frame {
 public:
  Frame() = default;
  explicit Frame(std::size_t size) : buffer_(size) {}
  static Frame copy_of(Bytes bytes) {
    Frame frame(bytes.size());
    if (!bytes.empty()) std::memcpy(frame.data(), bytes.data(), bytes.size());
    return frame;
  }

  std::uint8_t* data() { return buffer_.data(); }
  std::size_t size() const { return buffer_.size(); }
  Bytes bytes() const { return buffer_.bytes(); }
  void append(Bytes bytes) { buffer_.append(bytes); }

  /// The large binaries that came with it, in shared memory; null for none.
  void set_segments(std::shared_ptr<ReceivedSegments> segments) { segments_ = std::move(segments); }
  ReceivedSegments* segments() const { return segments_.get(); }
  std::shared_ptr<ReceivedSegments> take_segments() { return std::move(segments_); }

 private:
  ByteBuffer buffer_;
  std::shared_ptr<ReceivedSegments> segments_;
};

}  // namespace erlang_python
