#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "etf/term_reader.h"

namespace erlang_python {

/// Writes terms of the external term format into a buffer that grows by doubling (`ei_x_*` grows by a hundred bytes).
///
/// A writer has a limit. Once a write would pass it, the writer is `overflowed()`, keeps nothing more, and goes on
/// counting in `wanted_bytes()`, so that the error can name the size. Callers check once at the end, or from time to
/// time in long loops. Out of memory ends the process, as everywhere in the port program. Not thread-safe.
class TermWriter {
 public:
  /// The format counts bytes and elements in 32 bits, so nothing larger can be written whatever the limit.
  static constexpr std::size_t kNoLimit = UINT32_MAX;

  explicit TermWriter(std::size_t max_bytes = kNoLimit) : max_bytes_(std::min(max_bytes, kNoLimit)) {}

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
  void binary(Bytes bytes);
  void binary(std::string_view text);
  void tuple_header(std::size_t arity);
  void list_header(std::size_t count);  ///< count > 0: the elements and a nil() follow; count 0: writes NIL_EXT
  void nil();
  void map_header(std::size_t pairs);
  void raw(Bytes encoded);  ///< bytes of a term as TermReader::skip returned them, or payload bytes

  /// Counts bytes that are known to pass the limit without having them.
  void skip(std::size_t count) { wanted_bytes_ += count; }

  std::size_t size() const { return size_; }
  Bytes bytes() const { return {buffer_.get(), size_}; }
  std::uint8_t* data() { return buffer_.get(); }
  bool overflowed() const { return wanted_bytes_ > max_bytes_; }
  std::size_t wanted_bytes() const { return wanted_bytes_; }
  std::size_t max_bytes() const { return max_bytes_; }

  void clear();
  /// Cuts the buffer back to an earlier size(), for instance to replace a half-written result by an error.
  void truncate(std::size_t size);
  /// Gives the memory of an unusually large value back; keeps up to `keep_bytes`.
  void shrink(std::size_t keep_bytes);

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const { std::free(bytes); }
  };

  /// Room for `count` bytes at the end, or nullptr past the limit.
  std::uint8_t* extend(std::size_t count) {
    wanted_bytes_ += count;
    if (wanted_bytes_ > max_bytes_) return nullptr;
    if (capacity_ - size_ < count) grow(count);
    std::uint8_t* at = buffer_.get() + size_;
    size_ += count;
    return at;
  }
  void grow(std::size_t count);
  void wide_integer(std::int64_t value);
  void counted(std::uint8_t tag, std::size_t count);

  // malloc'd, not a vector: a vector clears the bytes that are about to be written, and cannot grow in place.
  std::unique_ptr<std::uint8_t[], Free> buffer_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  std::size_t max_bytes_;
  std::size_t wanted_bytes_ = 0;  ///< equals size_ until the first write past the limit
};

}  // namespace erlang_python
