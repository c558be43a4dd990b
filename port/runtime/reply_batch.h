#pragma once

#include <atomic>
#include <cstddef>

#include "base/byte_buffer.h"

namespace erlang_python {

/// Whether replies come one upon the other. Any thread, without a lock: one that has it and is put off the processor
/// would hold up all that reply.
class ReplyRate {
 public:
  /// Of replies in a tick: calls of 20 µs.
  static constexpr std::size_t kDense = 50;

  bool is_dense() const { return dense_.load(std::memory_order_relaxed); }
  void count() { replies_.fetch_add(1, std::memory_order_relaxed); }
  /// Once in a millisecond while Python runs.
  void tick() { dense_.store(replies_.exchange(0, std::memory_order_relaxed) >= kDense, std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> replies_ = 0;
  std::atomic<bool> dense_ = false;
};

/// Small replies that leave together, while they come one upon the other: to write one costs as much as a short call. A
/// few only, so that Erlang goes on with the first while Python works on the next.
class ReplyBatch {
 public:
  static constexpr std::size_t kTogether = 4;
  static constexpr std::size_t kSmallBytes = 4096;

  bool empty() const { return count_ == 0; }
  Bytes bytes() const { return bytes_.bytes(); }

  /// A reply, its length in front, that another one follows. False: it leaves now, behind those that have waited.
  bool keep(Bytes frame) {
    if (frame.size() > kSmallBytes || count_ + 1 == kTogether) return false;
    bytes_.append(frame);
    ++count_;
    return true;
  }
  void clear() {
    bytes_.truncate(0);
    count_ = 0;
  }

 private:
  ByteBuffer bytes_;
  std::size_t count_ = 0;
};

}  // namespace erlang_python
