#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/byte_buffer.h"
#include "etf/heap_size.h"
#include "etf/put_aside.h"
#include "etf/term_reader.h"

namespace erlang_python {

/// How large a term may be.
struct TermLimits {
  std::size_t bytes = UINT32_MAX;          ///< in the external term format
  std::size_t heap_bytes = SIZE_MAX;       ///< decoded (etf/heap_size.h)
  std::size_t integer_bytes = UINT32_MAX;  ///< of one integer: a BEAM holds no larger one
};

/// How large what was refused is, and how large it may be.
struct Excess {
  std::size_t bytes;
  std::size_t max_bytes;
};

/// Writes terms of the external term format into a buffer that grows by doubling (`ei_x_*` grows by a hundred bytes).
///
/// A writer has limits. Once a write would pass one, the writer is `overflowed()`, need not keep anything more, and
/// goes on counting, so that the error can name the size: `excess()`. Callers check once at the end, or from time to
/// time in long loops. Out of memory ends the process. Not thread-safe.
class TermWriter {
 public:
  /// The format counts bytes and elements in 32 bits, so nothing larger can be written whatever the limit.
  static constexpr std::size_t kNoLimit = UINT32_MAX;

  explicit TermWriter(std::size_t max_bytes = kNoLimit) : TermWriter(TermLimits{.bytes = max_bytes}) {}
  explicit TermWriter(const TermLimits& limits) : limits_(limits), max_bytes_(std::min(limits.bytes, kNoLimit)) {}

  void version();
  void atom(std::string_view utf8_name);  ///< at most 255 code points; the caller has checked
  void integer(std::int64_t value) {
    if (value >= 0 && value < 256) {
      if (auto* at = extend(2)) {
        at[0] = 97;  // SMALL_INTEGER_EXT
        at[1] = static_cast<std::uint8_t>(value);
      }
    } else {
      wide_integer(value);
    }
  }
  void big_integer(bool negative, Bytes little_endian_magnitude);
  void real(double value);  ///< finite
  /// A large one may be put aside: see put_large_into().
  void binary(Bytes bytes);
  void binary(std::string_view text);
  void tuple_header(std::size_t arity);
  void list_header(std::size_t count);  ///< count > 0: the elements and a nil() follow; count 0: writes NIL_EXT
  void nil();
  void map_header(std::size_t pairs);
  /// Bytes of a term as TermReader::skip returned them, or payload bytes; decoded they take `heap_bytes`.
  void raw(Bytes encoded, std::size_t heap_bytes = 0);

  /// False: an integer of this size passes a limit. It need not be made, and the writer has overflowed.
  [[nodiscard]] bool has_room_for_integer(std::size_t magnitude_bytes);

  std::size_t size() const { return buffer_.size(); }
  Bytes bytes() const { return buffer_.bytes(); }
  std::uint8_t* data() { return buffer_.data(); }
  bool overflowed() const { return wanted_bytes_ > max_bytes_ || heap_bytes_ > limits_.heap_bytes; }
  /// Which limit was passed, and by what. Bytes on the wire are counted from `payload_start`, and what else the writer
  /// has room for (the header of a frame) is no part of the limit.
  Excess excess(std::size_t payload_start, std::size_t header_room) const;
  std::size_t wanted_bytes() const { return wanted_bytes_; }
  std::size_t heap_bytes() const { return heap_bytes_; }

  // --- Large binaries.

  /// From now on large binaries go there, if there is room, and only what stands for them into the frame: `[Token |
  /// Index]`, an improper list. They count for the limits as if they stood there themselves. Null: none does.
  void put_large_into(SegmentStore* store) {
    aside_.use(store);
    keep_large(false);
  }
  /// True: for a while none does. Returns what held before.
  bool keep_large(bool keep) {
    const bool before = large_bytes_ == SIZE_MAX;
    large_bytes_ = keep || !aside_.has_store() ? SIZE_MAX : kLargeBytes;
    return before;
  }
  PutAside& aside() { return aside_; }
  const PutAside& aside() const { return aside_; }

  void clear();
  /// Cuts the buffer back to an earlier size(), for instance to replace a half-written result by an error. What stays
  /// counts for nothing on the heap.
  void truncate(std::size_t size);
  /// Gives the memory of an unusually large value back; keeps up to `keep_bytes`.
  void shrink(std::size_t keep_bytes) { buffer_.shrink(keep_bytes); }

 private:
  /// Room for `count` bytes at the end, or nullptr past the limit.
  std::uint8_t* extend(std::size_t count) {
    wanted_bytes_ += count;
    if (wanted_bytes_ > max_bytes_) return nullptr;
    return buffer_.extend(count);
  }
  [[nodiscard]] bool put_aside(Bytes bytes);
  void wide_integer(std::int64_t value);
  void counted(std::uint8_t tag, std::size_t count);

  ByteBuffer buffer_;
  TermLimits limits_;
  std::size_t max_bytes_;
  std::size_t wanted_bytes_ = 0;  ///< size() and what was put aside, until the first write past the limit
  std::size_t heap_bytes_ = 0;
  std::size_t large_integer_bytes_ = 0;  ///< of one that is refused
  std::size_t large_bytes_ = SIZE_MAX;   ///< binaries from this size on are put aside
  PutAside aside_;
};

}  // namespace erlang_python
