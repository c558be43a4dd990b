#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "etf/term_reader.h"

namespace erlang_python {

/// Writes terms of the external term format into a buffer that grows by doubling (`ei_x_*` grows by a hundred bytes).
///
/// A writer has a limit. Once a write would pass it, the writer is `overflowed()`, keeps nothing more, and goes on
/// counting in `wanted_bytes()`, so that the error can name the size. Callers check once at the end, or from time to
/// time in long loops.
class TermWriter {
 public:
  static constexpr std::size_t kNoLimit = SIZE_MAX;

  explicit TermWriter(std::size_t max_bytes = kNoLimit) : max_bytes_(max_bytes) {}

  void version();
  void atom(std::string_view utf8_name);  ///< at most 255 code points; the caller has checked
  void integer(std::int64_t value);
  void big_integer(bool negative, Bytes little_endian_magnitude);
  void real(double value);                ///< finite
  void binary(Bytes bytes);
  void binary(std::string_view text);
  void tuple_header(std::size_t arity);
  void list_header(std::size_t count);    ///< count > 0: the elements and a nil() follow; count 0: writes NIL_EXT
  void nil();
  void map_header(std::size_t pairs);
  void raw(Bytes encoded);                ///< bytes of a term as TermReader::skip returned them, or payload bytes

  std::size_t size() const { return buffer_.size(); }
  Bytes bytes() const { return {buffer_.data(), buffer_.size()}; }
  std::uint8_t* data() { return buffer_.data(); }
  bool overflowed() const { return wanted_bytes_ > max_bytes_; }
  std::size_t wanted_bytes() const { return wanted_bytes_; }
  std::size_t max_bytes() const { return max_bytes_; }

  void clear();
  /// Cuts the buffer back to an earlier size(), for instance to replace a half-written result by an error.
  void truncate(std::size_t size);
  /// Gives the memory of an unusually large value back; keeps up to `keep_bytes`.
  void shrink(std::size_t keep_bytes);

 private:
  /// Room for `count` bytes at the end, or nullptr past the limit.
  std::uint8_t* extend(std::size_t count);

  std::vector<std::uint8_t> buffer_;
  std::size_t max_bytes_;
  std::size_t wanted_bytes_ = 0;
};

}  // namespace erlang_python
