#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "protocol/frame.h"

namespace erlang_python {

/// Splits the byte stream of stdin into frames. Pure: the owner does the reading.
///
/// Small frames are copied out of one buffer; a frame that does not fit is allocated as soon as its length is known and
/// the rest of it is read in place. A frame longer than kMaxFrameBytes is passed over without being kept.
class FrameParser {
 public:
  FrameParser() : buffer_(kBufferBytes) {}

  /// Where the next read puts its bytes; never empty. Call commit() with the number read.
  std::span<std::uint8_t> writable();
  void commit(std::size_t count);

  /// The next complete frame, if there is one.
  std::optional<Frame> next();

  /// The length of a frame that was refused since the last call.
  std::optional<std::size_t> take_refused();

 private:
  static constexpr std::size_t kBufferBytes = 64 * 1024;

  std::size_t buffered() const { return end_ - begin_; }
  void discard_from_buffer();

  std::vector<std::uint8_t> buffer_;
  std::size_t begin_ = 0;  ///< first byte not yet parsed
  std::size_t end_ = 0;    ///< end of what was read

  std::optional<Frame> large_;  ///< a frame that is read in place
  std::size_t large_filled_ = 0;

  std::size_t discard_ = 0;  ///< bytes of a refused frame still to come
  std::optional<std::size_t> refused_;
};

}  // namespace erlang_python
