#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "etf/segment_store.h"

namespace erlang_python {

/// Which parts of a range of the segment file are in use. Pure: the bytes are none of its business.
///
/// An extent has a power of two of bytes, of which those that were never written take no memory. One that was given
/// back keeps the memory that it has, for the next one of its size, as long as all that are idle have no more than
/// `idle_bytes` together: then those that have been idle for longest are to be discarded.
class Extents {
 public:
  /// `most_bytes`: of all that are in use at once.
  Extents(std::uint64_t begin, std::uint64_t end, std::size_t idle_bytes, std::size_t most_bytes)
      : next_(begin), end_(end), idle_limit_(idle_bytes), most_bytes_(most_bytes) {}

  /// Where so many bytes have room; nullopt when there is none.
  std::optional<std::uint64_t> take(std::size_t bytes);

  /// False: no extent that is in use begins there. What is to be discarded is added to `discarded`.
  [[nodiscard]] bool give_back(std::uint64_t offset, std::vector<Segment>& discarded);

  std::size_t used_bytes() const { return used_bytes_; }
  std::size_t idle_bytes() const { return idle_bytes_; }

 private:
  static constexpr std::size_t kClasses = 48;

  struct Used {
    std::size_t size_class;
    std::size_t bytes;
    std::size_t memory;  ///< that the extent has
  };
  struct Idle {
    std::uint64_t since;
    std::size_t memory;
  };

  void discard_oldest(std::vector<Segment>& discarded);

  std::uint64_t next_;
  const std::uint64_t end_;
  const std::size_t idle_limit_;
  const std::size_t most_bytes_;
  std::size_t used_bytes_ = 0;
  std::size_t idle_bytes_ = 0;
  std::uint64_t turns_ = 0;
  std::array<std::vector<std::uint64_t>, kClasses> free_;  ///< the last that was given back is the first to be taken
  std::unordered_map<std::uint64_t, Used> used_;
  std::unordered_map<std::uint64_t, Idle> idle_;  ///< those that have memory
};

}  // namespace erlang_python
