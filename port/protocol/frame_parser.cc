#include "protocol/frame_parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace erlang_python {

std::span<std::uint8_t> FrameParser::writable() {
  if (large_) return {large_->data() + large_filled_, large_->size() - large_filled_};
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (end_ == buffer_.size() || begin_ > buffer_.size() / 2) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
  return {buffer_.data() + end_, buffer_.size() - end_};
}

void FrameParser::commit(std::size_t count) {
  if (large_) {
    large_filled_ += count;
  } else {
    end_ += count;
    discard_from_buffer();
  }
}

void FrameParser::discard_from_buffer() {
  const std::size_t gone = std::min(discard_, buffered());
  begin_ += gone;
  discard_ -= gone;
}

std::optional<Frame> FrameParser::next() {
  if (large_) {
    if (large_filled_ < large_->size()) return std::nullopt;
    large_filled_ = 0;
    return std::exchange(large_, std::nullopt);
  }
  while (discard_ == 0 && buffered() >= kLengthBytes) {
    const std::size_t length = read_be32(buffer_.data() + begin_);
    if (length > kMaxFrameBytes) {
      refused_ = length;
      begin_ += kLengthBytes;
      discard_ = length;
      discard_from_buffer();
      continue;
    }
    const std::size_t available = buffered() - kLengthBytes;
    const std::uint8_t* content = buffer_.data() + begin_ + kLengthBytes;
    if (available >= length) {
      begin_ += kLengthBytes + length;
      return Frame::copy_of({content, length});
    }
    if (kLengthBytes + length > buffer_.size()) {
      large_.emplace(length);
      std::memcpy(large_->data(), content, available);
      large_filled_ = available;
      begin_ = end_ = 0;
    }
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::size_t> FrameParser::take_refused() { return std::exchange(refused_, std::nullopt); }

}  // namespace erlang_python
