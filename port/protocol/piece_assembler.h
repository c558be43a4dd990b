#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "etf/term_reader.h"
#include "protocol/frame.h"

namespace erlang_python {

/// Joins the pieces of frames that were too large for one. Used by whoever reads stdin, one thread at a time.
class PieceAssembler {
 public:
  explicit PieceAssembler(std::size_t max_value_bytes) : max_bytes_(max_value_bytes + kMaxPieceBytes) {}

  enum class Outcome { kKept, kTooLarge };

  /// Keeps a piece for `alias`. kTooLarge drops what came before; later pieces of the alias are dropped in silence.
  Outcome add(Bytes alias, Bytes piece, std::int64_t now_ns);

  /// Takes the whole of it, the last piece included; nullopt when it was dropped as too large.
  std::optional<Frame> finish(Bytes alias, Bytes last_piece);

  /// Forgets values of which no piece has come for a minute: their sender was killed half way.
  void forget_abandoned(std::int64_t now_ns);

  bool empty() const { return values_.empty(); }

 private:
  struct Value {
    Frame joined;
    bool refused = false;
    std::int64_t touched_ns = 0;
  };

  std::size_t max_bytes_;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace erlang_python
