#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "etf/segment_store.h"

namespace erlang_python {

/// The large binaries of one term, put into a SegmentStore. What was not sent goes back there.
class PutAside {
 public:
  PutAside() = default;
  ~PutAside() { cut_back(0); }
  PutAside(PutAside&& other) noexcept
      : store_(other.store_), token_(other.token_), parts_(std::exchange(other.parts_, {})) {}
  PutAside& operator=(PutAside&& other) noexcept {
    if (this != &other) {
      cut_back(0);
      store_ = other.store_;
      token_ = other.token_;
      parts_ = std::exchange(other.parts_, {});
    }
    return *this;
  }

  struct Part {
    std::size_t position;  ///< in the frame, of what stands for it
    Segment segment;
  };

  /// `store` may be null: then nothing is put aside.
  void use(SegmentStore* store) { store_ = store; }
  bool has_store() const { return store_ != nullptr; }

  bool put(std::size_t position, std::span<const std::uint8_t> bytes) {
    const auto segment = store_->put(bytes);
    if (!segment) return false;
    if (parts_.empty()) token_ = store_->new_token();
    parts_.push_back({position, *segment});
    return true;
  }

  bool empty() const { return parts_.empty(); }
  const std::vector<Part>& parts() const { return parts_; }
  std::uint32_t token() const { return token_; }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Part& part : parts_) sum += part.segment.bytes;
    return sum;
  }

  /// Erlang has been told of them, and tells when it has read them.
  void sent() { parts_.clear(); }
  /// The term has been cut back to this size.
  void cut_back(std::size_t size) {
    for (; !parts_.empty() && parts_.back().position >= size; parts_.pop_back()) store_->drop(parts_.back().segment);
  }

 private:
  SegmentStore* store_ = nullptr;
  std::uint32_t token_ = 0;
  std::vector<Part> parts_;
};

}  // namespace erlang_python
