#include "protocol/piece_assembler.h"

#include <utility>

namespace erlang_python {
namespace {

constexpr std::int64_t kAbandonedAfterNs = 60'000'000'000;

constexpr std::size_t kMaxRemembered = 10'000;

}  // namespace

bool PieceAssembler::add(Bytes alias, Bytes piece, std::int64_t now_ns) {
  const MutexLock lock(mu_);
  const auto [found, is_first] = values_.try_emplace(std::string(text_of(alias)));
  Value& value = found->second;
  value.touched_ns = now_ns;
  if (value.dropped) return false;
  if (value.joined.size() + piece.size() > max_bytes_) {
    value.dropped = true;
    value.joined = {};
    return false;
  }
  value.joined.append(piece);
  return is_first;
}

void PieceAssembler::keep_segments(Bytes alias, std::shared_ptr<ReceivedSegments> segments) {
  const MutexLock lock(mu_);
  const auto found = values_.find(text_of(alias));
  if (found != values_.end() && !found->second.dropped) found->second.joined.set_segments(std::move(segments));
}

std::optional<Frame> PieceAssembler::finish(Bytes alias, Bytes last_piece) {
  const MutexLock lock(mu_);
  auto node = values_.extract(text_of(alias));
  if (node.empty()) return Frame::copy_of(last_piece);
  Value& value = node.mapped();
  if (value.dropped || value.joined.size() + last_piece.size() > max_bytes_) return std::nullopt;
  value.joined.append(last_piece);
  return std::move(value.joined);
}

void PieceAssembler::forget_abandoned(std::int64_t now_ns) {
  const MutexLock lock(mu_);
  for (auto& [alias, value] : values_) {
    if (value.dropped || now_ns - value.touched_ns <= kAbandonedAfterNs) continue;
    value.dropped = true;
    value.joined = {};
  }
  // The memory of what was dropped is small, but not without bound.
  while (values_.size() > kMaxRemembered) values_.erase(values_.begin());
}

std::size_t PieceAssembler::kept_bytes() const {
  const MutexLock lock(mu_);
  std::size_t bytes = 0;
  for (const auto& entry : values_) bytes += entry.second.joined.size();
  return bytes;
}

}  // namespace erlang_python
