#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "protocol/frame.h"
#include "protocol/messages.h"

namespace erlang_python {

/// An ITEMS frame in the making: items of one stream, in the order in which they came.
class ItemBatch {
 public:
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return bytes_.size(); }
  bool belongs_to(Bytes alias) const {
    return alias.size() == alias_.size() && std::equal(alias.begin(), alias.end(), alias_.begin());
  }

  /// `etf`: a term without its version byte. The batch is empty, or belongs to the stream of this alias.
  void add(Bytes alias, Bytes etf) {
    if (empty()) begin(alias);
    bytes_.append(etf);
    ++count_;
  }

  /// The whole frame, its length in front; valid until clear(). `payload_start`: where the list of items begins.
  Bytes finish(std::size_t& payload_start) {
    *bytes_.extend(1) = 106;  // NIL_EXT
    write_be32(bytes_.data(), bytes_.size() - kLengthBytes);
    write_be32(bytes_.data() + payload_start_ + 2, count_);
    payload_start = payload_start_;
    return bytes_.bytes();
  }

  /// Of memory, whether in use or not.
  std::size_t held_bytes() const { return bytes_.capacity(); }

  Bytes alias() const { return {alias_.data(), alias_.size()}; }

  void clear() {
    bytes_.truncate(0);
    bytes_.shrink(kKeptBytes);
    count_ = 0;
  }

  /// More than a batch of small items takes.
  static constexpr std::size_t kKeptBytes = 64 * 1024;

 private:
  void begin(Bytes alias) {
    alias_.assign(alias.begin(), alias.end());
    // {16, Alias}, then 131 and a LIST_EXT whose length is written last.
    constexpr std::array<std::uint8_t, 5> kHead = {131, 104, 2, 97, static_cast<std::uint8_t>(Notice::kItems)};
    constexpr std::array<std::uint8_t, 6> kListHead = {131, 108, 0, 0, 0, 0};
    bytes_.truncate(0);
    bytes_.extend(kLengthBytes);
    bytes_.append(kHead);
    bytes_.append(alias);
    payload_start_ = bytes_.size();
    bytes_.append(kListHead);
  }

  ByteBuffer bytes_;
  std::vector<std::uint8_t> alias_;
  std::size_t payload_start_ = 0;
  std::size_t count_ = 0;
};

}  // namespace erlang_python
