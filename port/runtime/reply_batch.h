#pragma once

#include <cstddef>

#include "base/byte_buffer.h"

namespace erlang_python {

/// Small replies that leave together while they come one upon the other: to write one costs as much as a short call. A
/// few only, so that Erlang goes on with the first while Python works on the next. None waits for longer than a tick:
/// before one has shown that many come, and after one in which they did not, each leaves at once.
class ReplyBatch {
 public:
  /// Whether replies that are followed by others wait for them.
  bool is_dense() const { return dense_; }
  bool empty() const { return count_ == 0; }
  Bytes bytes() const { return bytes_.bytes(); }

  /// A reply, its length in front. False: it leaves now, behind those that have waited. `more`: another one follows.
  bool keep(Bytes frame, bool more) {
    ++since_tick_;
    if (!more || !dense_ || frame.size() > kSmallBytes || count_ + 1 == kTogether) return false;
    bytes_.append(frame);
    ++count_;
    return true;
  }
  void clear() {
    bytes_.truncate(0);
    count_ = 0;
  }
  /// Once in a millisecond while Python runs. What waits is to leave.
  void tick() {
    dense_ = since_tick_ >= kDense;
    since_tick_ = 0;
  }

  static constexpr std::size_t kTogether = 4;
  static constexpr std::size_t kSmallBytes = 4096;
  /// Of replies in a tick: calls of 20 µs.
  static constexpr std::size_t kDense = 50;

 private:
  ByteBuffer bytes_;
  std::size_t count_ = 0;
  std::size_t since_tick_ = 0;
  bool dense_ = false;
};

}  // namespace erlang_python
