#include "protocol/piece_assembler.h"

#include <utility>

namespace erlang_python {
namespace {

constexpr std::int64_t kAbandonedAfterNs = 60'000'000'000;

std::string key_of(Bytes alias) { return {reinterpret_cast<const char*>(alias.data()), alias.size()}; }

}  // namespace

PieceAssembler::Outcome PieceAssembler::add(Bytes alias, Bytes piece, std::int64_t now_ns) {
  Value& value = values_[key_of(alias)];
  value.touched_ns = now_ns;
  if (value.refused) return Outcome::kKept;
  if (value.joined.size() + piece.size() > max_bytes_) {
    value.refused = true;
    value.joined = {};
    return Outcome::kTooLarge;
  }
  value.joined.append(piece);
  return Outcome::kKept;
}

std::optional<Frame> PieceAssembler::finish(Bytes alias, Bytes last_piece) {
  auto node = values_.extract(key_of(alias));
  if (node.empty()) return Frame::copy_of(last_piece);
  Value& value = node.mapped();
  if (value.refused) return std::nullopt;
  value.joined.append(last_piece);
  return std::move(value.joined);
}

void PieceAssembler::forget_abandoned(std::int64_t now_ns) {
  std::erase_if(values_, [&](const auto& entry) { return now_ns - entry.second.touched_ns > kAbandonedAfterNs; });
}

}  // namespace erlang_python
