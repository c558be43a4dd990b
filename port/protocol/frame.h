#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "etf/term_reader.h"

namespace erlang_python {

/// A large value travels in pieces of this size, so that no frame keeps the small ones behind it waiting.
constexpr std::size_t kMaxPieceBytes = 1024 * 1024;
/// A piece and its header.
constexpr std::size_t kMaxFrameBytes = kMaxPieceBytes + 4096;
/// The length in front of every frame: {packet,4}.
constexpr std::size_t kLengthBytes = 4;

inline std::uint32_t read_be32(const std::uint8_t* p) {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) | std::uint32_t{p[3]};
}

inline void write_be32(std::uint8_t* p, std::size_t value) {
  p[0] = static_cast<std::uint8_t>(value >> 24);
  p[1] = static_cast<std::uint8_t>(value >> 16);
  p[2] = static_cast<std::uint8_t>(value >> 8);
  p[3] = static_cast<std::uint8_t>(value);
}

/// Bytes of one frame, without the length in front; owned, so that they may outlive the read buffer and change threads.
class Frame {
 public:
  Frame() = default;
  explicit Frame(std::size_t size) { resize(size); }
  static Frame copy_of(Bytes bytes) {
    Frame frame(bytes.size());
    if (!bytes.empty()) std::memcpy(frame.data_.get(), bytes.data(), bytes.size());
    return frame;
  }

  std::uint8_t* data() { return data_.get(); }
  std::size_t size() const { return size_; }
  Bytes bytes() const { return {data_.get(), size_}; }

  void append(Bytes bytes) {
    const std::size_t end = size_;
    resize(size_ + bytes.size());
    if (!bytes.empty()) std::memcpy(data_.get() + end, bytes.data(), bytes.size());
  }

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const { std::free(bytes); }
  };

  // malloc'd, so that realloc can grow a large frame by moving pages instead of bytes; and not cleared.
  void resize(std::size_t size) {
    if (size > capacity_) {
      const std::size_t capacity = capacity_ == 0 ? size : std::max(size, 2 * capacity_);
      auto* grown = static_cast<std::uint8_t*>(std::realloc(data_.get(), capacity));
      if (grown == nullptr) throw std::bad_alloc();
      static_cast<void>(data_.release());
      data_.reset(grown);
      capacity_ = capacity;
    }
    size_ = size;
  }

  std::unique_ptr<std::uint8_t[], Free> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace erlang_python
