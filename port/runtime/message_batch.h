#pragma once

#include <cstdint>
#include <cstring>

#include "protocol/frame.h"
#include "protocol/messages.h"

namespace erlang_python {

/// A MESSAGES frame in the making: messages for Erlang processes, in the order in which they were sent.
class MessageBatch {
 public:
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return bytes_.size(); }

  /// `etf`: a term {Dest, Message} with its version byte.
  void add(Bytes etf) {
    if (bytes_.size() == 0) bytes_.extend(kHeadBytes);
    write_be32(bytes_.extend(4), etf.size());
    bytes_.append(etf);
    ++count_;
  }

  /// The whole frame, its length in front; valid until clear().
  Bytes finish() {
    // {12, Count}, the count always in four bytes, so that it can be written last.
    const std::uint8_t head[kHeadBytes - kLengthBytes - 4] = {
        131, 104, 2, 97, static_cast<std::uint8_t>(Notice::kMessages), 98};
    write_be32(bytes_.data(), bytes_.size() - kLengthBytes);
    std::memcpy(bytes_.data() + kLengthBytes, head, sizeof head);
    write_be32(bytes_.data() + kHeadBytes - 4, count_);
    return bytes_.bytes();
  }

  void clear() {
    bytes_.truncate(0);
    count_ = 0;
  }

 private:
  static constexpr std::size_t kHeadBytes = kLengthBytes + 6 + 4;

  ByteBuffer bytes_;
  std::size_t count_ = 0;
};

}  // namespace erlang_python
