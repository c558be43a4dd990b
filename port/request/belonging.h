#pragma once

#include <cstdint>

namespace erlang_python {

/// How a request stands to the work that has left it for other threads: a value.
///
/// Work is *its* until the request has ended, and nobody's afterwards. When the request is told to end, the work that
/// runs is told, and so is what has left it by then and waits to be run: but not what leaves it later, in its finally
/// blocks.
class Belonging {
 public:
  enum class Work : std::uint8_t {
    kIts,      ///< of the request
    kNobodys,  ///< the request has ended
    kTold,     ///< it was told to end while the work waited
  };

  bool ended() const { return ended_; }
  void tell() { ++told_; }
  void end() { ended_ = true; }

  /// For work that leaves the request now.
  std::uint32_t leave() const { return told_; }
  /// What work is that is to be run now; `left`: what leave() was then.
  Work begin(std::uint32_t left) const {
    if (ended_) return Work::kNobodys;
    return left == told_ ? Work::kIts : Work::kTold;
  }

  /// Of `guest`, which a thread serves that works for this one: it is told what this one is told, and has ended when it
  /// has itself.
  Belonging with_guest(const Belonging& guest) const {
    Belonging both = guest;
    both.told_ += told_;
    return both;
  }

 private:
  std::uint32_t told_ = 0;
  bool ended_ = false;
};

}  // namespace erlang_python
