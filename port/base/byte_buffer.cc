#include "base/byte_buffer.h"

#include <algorithm>

#include "base/out_of_memory.h"

namespace erlang_python {
namespace {

constexpr std::size_t kFirstCapacity = 256;

}  // namespace

void ByteBuffer::grow(std::size_t count) { reallocate(std::max({size_ + count, capacity_ * 2, kFirstCapacity})); }

void ByteBuffer::shrink(std::size_t keep_bytes) {
  const std::size_t capacity = std::max({size_, keep_bytes, std::size_t{1}});
  if (capacity < capacity_) reallocate(capacity);
}

void ByteBuffer::reallocate(std::size_t capacity) {
  void* const moved = std::realloc(bytes_.get(), capacity);
  if (moved == nullptr) end_out_of_memory(capacity);
  static_cast<void>(bytes_.release());
  bytes_.reset(static_cast<std::uint8_t*>(moved));
  capacity_ = capacity;
}

}  // namespace erlang_python
