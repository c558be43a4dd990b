#include "protocol/piece_assembler.h"

#include <cstring>

namespace erlang_python {
namespace {

constexpr std::int64_t kAbandonedAfterNs = 60'000'000'000;

std::string key_of(Bytes alias) { return {reinterpret_cast<const char*>(alias.data()), alias.size()}; }

}  // namespace

PieceAssembler::Outcome PieceAssembler::add(Bytes alias, Bytes piece, std::int64_t now_ns) {
  Value& value = values_[key_of(alias)];
  value.touched_ns = now_ns;
  if (value.refused) return Outcome::kKept;
  if (value.bytes.size() + piece.size() > max_bytes_) {
    value.refused = true;
    value.bytes = {};
    return Outcome::kTooLarge;
  }
  value.bytes.insert(value.bytes.end(), piece.begin(), piece.end());
  return Outcome::kKept;
}

std::optional<Frame> PieceAssembler::finish(Bytes alias, Bytes last_piece) {
  auto node = values_.extract(key_of(alias));
  if (node.empty()) return Frame::copy_of(last_piece);
  const Value& value = node.mapped();
  if (value.refused) return std::nullopt;
  Frame frame(value.bytes.size() + last_piece.size());
  if (!value.bytes.empty()) std::memcpy(frame.data(), value.bytes.data(), value.bytes.size());
  if (!last_piece.empty()) std::memcpy(frame.data() + value.bytes.size(), last_piece.data(), last_piece.size());
  return frame;
}

void PieceAssembler::forget_abandoned(std::int64_t now_ns) {
  std::erase_if(values_, [&](const auto& entry) { return now_ns - entry.second.touched_ns > kAbandonedAfterNs; });
}

}  // namespace erlang_python
