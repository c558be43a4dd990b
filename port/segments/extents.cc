#include "segments/extents.h"

#include <algorithm>
#include <bit>

namespace erlang_python {
namespace {

constexpr std::size_t kPageBytes = 4096;

std::size_t pages_of(std::size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

std::optional<std::uint64_t> Extents::take(std::size_t bytes) {
  if (bytes == 0 || bytes > most_bytes_ - used_bytes_) return std::nullopt;
  const auto size_class = static_cast<std::size_t>(std::bit_width(std::max(bytes, kPageBytes) - 1));
  if (size_class >= kClasses) return std::nullopt;
  auto& free = free_[size_class];
  std::uint64_t offset = next_;
  std::size_t memory = 0;
  if (!free.empty()) {
    offset = free.back();
    free.pop_back();
    if (const auto idle = idle_.find(offset); idle != idle_.end()) {
      memory = idle->second.memory;
      idle_bytes_ -= memory;
      idle_.erase(idle);
    }
  } else {
    const std::uint64_t size = std::uint64_t{1} << size_class;
    if (size > end_ - next_) return std::nullopt;
    next_ += size;
  }
  used_bytes_ += bytes;
  used_.emplace(offset, Used{size_class, bytes, std::max(memory, pages_of(bytes))});
  return offset;
}

bool Extents::give_back(std::uint64_t offset, std::vector<Segment>& discarded) {
  const auto found = used_.find(offset);
  if (found == used_.end()) return false;
  const Used used = found->second;
  used_.erase(found);
  used_bytes_ -= used.bytes;
  free_[used.size_class].push_back(offset);
  idle_.emplace(offset, Idle{++turns_, used.memory});
  idle_bytes_ += used.memory;
  while (idle_bytes_ > idle_limit_) discard_oldest(discarded);
  return true;
}

void Extents::discard_oldest(std::vector<Segment>& discarded) {
  const auto oldest = std::min_element(idle_.begin(), idle_.end(), [](const auto& one, const auto& other) {
    return one.second.since < other.second.since;
  });
  discarded.push_back({oldest->first, oldest->second.memory});
  idle_bytes_ -= oldest->second.memory;
  idle_.erase(oldest);
}

}  // namespace erlang_python
