#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "etf/term_writer.h"

namespace erlang_python {

/// The frame of a callback that has not left.
struct CallbackFrame {
  std::uint64_t id = 0;
  TermWriter out;
  std::size_t payload_start = 0;
};

/// Decides which callbacks are out: at most so many at once, with so many bytes of arguments, the others wait here,
/// first come first served. Pure: it sends nothing. Not thread-safe.
///
/// A request that is nested in a call chain holds up the callback that it is nested in, and that holds a place. So it
/// may always have one callback out of its own, beyond the limit: otherwise places could be held by nobody but requests
/// that wait for a place. Such a request has a number, its *nesting*; 0 is a request that began its chain.
///
/// Who gives one callback up mostly gives up thousands, one after the other, the oldest first. So the places of those
/// are given to others when that is over (take_due): else each that waits would leave a moment before it is given up.
class CallbackGate {
 public:
  using Id = std::uint64_t;
  using Nesting = std::uint64_t;

  /// `max_out`: 0 for no limit. One whose frame alone is larger than `max_bytes` goes out alone.
  CallbackGate(std::size_t max_out, std::size_t max_bytes) : max_out_(max_out), max_bytes_(max_bytes) {}

  /// True: this callback, with a frame of so many bytes, goes out now. False: it is to wait().
  [[nodiscard]] bool enter(Id id, Nesting nesting, std::size_t bytes);
  /// One that was not let in, if nothing has left since.
  void wait(CallbackFrame frame, Nesting nesting);

  struct Answered {
    bool was_out = false;
    std::vector<CallbackFrame> next;  ///< to be sent now, in its place
  };
  /// Of an unknown one, which was given up, nothing happens.
  Answered answer(Id id);

  enum class GivenUp { kUnknown, kWaited, kWasOut };
  /// Nobody waits for it any more. One that waited never leaves.
  GivenUp give_up(Id id, std::int64_t now_ns);

  /// Those to be sent now that get the places of others that were given up.
  std::vector<CallbackFrame> take_due(std::int64_t now_ns);
  /// There may be some later.
  bool has_due() const { return first_given_up_ns_ != 0; }

  std::size_t out() const { return out_.size(); }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Waiting {
    Nesting nesting;
    CallbackFrame frame;
  };
  using AllWaiting = std::map<Id, Waiting>;

  struct Out {
    Nesting beyond;     ///< not 0: it has no place, this nested request has it beyond
    std::size_t bytes;  ///< of its place
  };

  bool has_place(std::size_t bytes) const {
    return (max_out_ == 0 || places_taken_ < max_out_) && (bytes_ == 0 || bytes_ + bytes <= max_bytes_);
  }
  void take_place(std::size_t bytes);
  void leave_place(std::size_t bytes);
  /// Those that wait and have a place now.
  void send_first(std::vector<CallbackFrame>& sent);
  /// Sends one that waits: with a place, or beyond the limit for its nested request.
  CallbackFrame send(AllWaiting::iterator waiting, Nesting beyond);
  AllWaiting::iterator first_of(Nesting nesting);
  void erase(AllWaiting::iterator waiting);

  const std::size_t max_out_;
  const std::size_t max_bytes_;
  std::size_t places_taken_ = 0;
  std::size_t bytes_ = 0;  ///< of those that have a place
  std::unordered_map<Id, Out> out_;
  std::unordered_set<Nesting> beyond_;               ///< nested requests that have one out beyond the limit
  AllWaiting waiting_;                               ///< numbers grow, so this is the order in which they came
  std::set<std::pair<Nesting, Id>> nested_waiting_;  ///< those of waiting_ that have a nesting
  std::int64_t first_given_up_ns_ = 0;               ///< since take_due() gave something
  std::int64_t last_given_up_ns_ = 0;
  std::unordered_set<Nesting> given_up_beyond_;
};

}  // namespace erlang_python
