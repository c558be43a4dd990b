#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "etf/term_reader.h"

namespace erlang_python {

/// Of the segments that Erlang has written. Any thread.
class SegmentLender {
 public:
  virtual ~SegmentLender() = default;
  /// Erlang may use those that begin there again.
  virtual void give_back(std::span<const std::uint64_t> offsets) = 0;
};

/// A large binary that Erlang has written into the segment file. Erlang writes nothing else there until it is told that
/// nobody needs it any more: when this goes. Any thread.
class ReceivedSegment {
 public:
  /// `memory`: in which the bytes are.
  ReceivedSegment(SegmentLender& lender, std::uint64_t offset, Bytes bytes, std::shared_ptr<const void> memory)
      : lender_(&lender), offset_(offset), bytes_(bytes), memory_(std::move(memory)) {}
  ~ReceivedSegment() {
    if (lender_ != nullptr) lender_->give_back({&offset_, 1});
  }
  ReceivedSegment(const ReceivedSegment&) = delete;
  ReceivedSegment& operator=(const ReceivedSegment&) = delete;

  /// False: the address space had no room for it.
  bool is_mapped() const { return memory_ != nullptr; }
  Bytes bytes() const { return bytes_; }

 private:
  friend class ReceivedSegments;

  SegmentLender* lender_;  ///< null: it has been given back
  const std::uint64_t offset_;
  const Bytes bytes_;
  const std::shared_ptr<const void> memory_;
};

/// Those of one frame, in which `[Key | Index]` stands for each.
class ReceivedSegments {
 public:
  ReceivedSegments(Bytes key, std::vector<std::shared_ptr<ReceivedSegment>> all)
      : key_(key.begin(), key.end()), all_(std::move(all)) {}

  bool has_key(Bytes term) const { return std::equal(term.begin(), term.end(), key_.begin(), key_.end()); }
  /// Null when there is none of that index, or it has been given back.
  std::shared_ptr<ReceivedSegment> at(std::int64_t index) const {
    return index >= 0 && static_cast<std::size_t>(index) < all_.size() ? all_[static_cast<std::size_t>(index)]
                                                                       : nullptr;
  }
  /// The terms of the frame have been decoded: what is held nowhere else is given back.
  void decoded() {
    std::vector<std::uint64_t> offsets;
    SegmentLender* lender = nullptr;
    for (auto& segment : all_) {
      if (segment && segment.use_count() == 1) {
        offsets.push_back(segment->offset_);
        lender = std::exchange(segment->lender_, nullptr);
      }
      segment.reset();
    }
    if (lender != nullptr) lender->give_back(offsets);
  }

 private:
  std::vector<std::uint8_t> key_;
  std::vector<std::shared_ptr<ReceivedSegment>> all_;
};

}  // namespace erlang_python
