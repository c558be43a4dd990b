#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "etf/term_reader.h"
#include "protocol/frame.h"

namespace erlang_python {

/// Joins the pieces of frames that were too large for one. Any thread: whoever reads stdin adds, the loop forgets.
class PieceAssembler {
 public:
  explicit PieceAssembler(std::size_t max_value_bytes) : max_bytes_(max_value_bytes + kMaxPieceBytes) {}

  /// Keeps a piece for `alias`. A value that grows too large is dropped, and so is every later piece of it. True: it is
  /// the first.
  bool add(Bytes alias, Bytes piece, std::int64_t now_ns);

  /// What the value has in shared memory: it is given back when the value is dropped, and in the frame when it is
  /// whole.
  void keep_segments(Bytes alias, std::shared_ptr<ReceivedSegments> segments);

  /// Takes the whole of it, the last piece included; nullopt when it was dropped: too large, or no piece for a minute.
  std::optional<Frame> finish(Bytes alias, Bytes last_piece);

  /// Drops values of which no piece has come for a minute: their sender was killed half way. Should it live after all,
  /// its last piece must not be taken for a whole, so that they were is remembered.
  void forget_abandoned(std::int64_t now_ns);

  std::size_t kept_bytes() const;

 private:
  struct Value {
    Frame joined;
    bool dropped = false;
    std::int64_t touched_ns = 0;
  };

  const std::size_t max_bytes_;
  mutable Mutex mu_;
  std::map<std::string, Value, std::less<>> values_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
