#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "base/bytes.h"

namespace erlang_python {

/// Bytes that grow at the end, by doubling. malloc'd, not a vector: a vector clears the bytes that are about to be
/// written, and cannot grow in place or by moving pages. Out of memory ends the process.
class ByteBuffer {
 public:
  ByteBuffer() = default;
  /// Of this size, and no larger; its bytes are to be written.
  explicit ByteBuffer(std::size_t size) {
    if (size > 0) reallocate(size);
    size_ = size;
  }
  ByteBuffer(ByteBuffer&& other) noexcept
      : bytes_(std::move(other.bytes_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }
  ~ByteBuffer() = default;

  std::uint8_t* data() { return bytes_.get(); }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  Bytes bytes() const { return {bytes_.get(), size_}; }

  /// So many bytes more, which are to be written.
  std::uint8_t* extend(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    std::uint8_t* const at = bytes_.get() + size_;
    size_ += count;
    return at;
  }
  void append(Bytes bytes) {
    // memcpy with a null source is undefined even for no bytes, and the data of an empty span may be null.
    if (!bytes.empty()) std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }
  /// To at most size().
  void truncate(std::size_t size) { size_ = size; }
  /// At most size() of them go at the beginning.
  void drop_front(std::size_t count) {
    size_ -= count;
    if (count > 0 && size_ > 0) std::memmove(bytes_.get(), bytes_.get() + count, size_);
  }
  /// Gives memory back; keeps what is needed, and up to `keep_bytes`.
  void shrink(std::size_t keep_bytes);

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const { std::free(bytes); }
  };
  void grow(std::size_t count);
  void reallocate(std::size_t capacity);

  std::unique_ptr<std::uint8_t[], Free> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace erlang_python
