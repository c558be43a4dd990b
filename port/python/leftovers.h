#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace erlang_python {

/// When Python's collector is to run for namespaces that were let go and are still there: held by others at that time,
/// or too large to be looked at. The collector comes by itself when many containers were made, which says nothing about
/// what they hold: a function and a list of a megabyte are two. A value, without a clock.
class Leftovers {
 public:
  /// Before the first namespace. `resident`: bytes of this process. Only the first call counts.
  void open(std::size_t resident) {
    if (resident_ == 0) resident_ = resident;
  }
  /// One more.
  void add(std::int64_t now_ns) {
    if (count_++ == 0) since_ns_ = now_ns;
  }
  bool any() const { return count_ > 0; }

  /// They have grown large, are many, or are there for long. What a collection takes goes by all that is alive, so the
  /// longer one takes, the longer few that are small may wait.
  bool due(std::size_t resident, std::int64_t now_ns) const {
    if (count_ == 0) return false;
    if (resident >= resident_ + std::max(kGrowthBytes, resident_ / 4)) return true;
    const std::int64_t age_ns = now_ns - since_ns_;
    if (count_ >= kMany) return age_ns >= 10 * took_ns_;
    return age_ns >= std::max(kAgeNs, 50 * took_ns_);
  }

  void begin_collection(std::int64_t now_ns) {
    count_ = 0;
    begun_ns_ = now_ns;
  }
  void end_collection(std::size_t resident, std::int64_t now_ns) {
    took_ns_ = now_ns - begun_ns_;
    resident_ = resident;
  }

 private:
  static constexpr std::size_t kGrowthBytes = 32 * 1024 * 1024;
  static constexpr std::int64_t kAgeNs = 10'000 * kNsPerMs;
  static constexpr std::size_t kMany = 1000;

  std::size_t count_ = 0;
  std::int64_t since_ns_ = 0;  ///< when the first of them was left
  std::size_t resident_ = 0;   ///< after the last collection: when something is left, it is there already
  std::int64_t begun_ns_ = 0;  ///< the last collection
  std::int64_t took_ns_ = 0;
};

}  // namespace erlang_python
