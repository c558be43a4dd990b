#include "conversion/key_terms.h"

#include <algorithm>

namespace erlang_python {

std::optional<std::size_t> KeyTerms::Map::find_duplicate(Bytes written) {
  const auto bytes_of = [&](const Span& span) { return written.subspan(span.start, span.end - span.start); };
  const auto first = spans_.begin() + static_cast<std::ptrdiff_t>(first_);
  std::sort(first, spans_.end(), [&](const Span& left, const Span& right) {
    const Bytes a = bytes_of(left);
    const Bytes b = bytes_of(right);
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  });
  const auto twice = std::adjacent_find(first, spans_.end(), [&](const Span& left, const Span& right) {
    const Bytes a = bytes_of(left);
    const Bytes b = bytes_of(right);
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  });
  if (twice == spans_.end()) return std::nullopt;
  return std::max(twice->index, std::next(twice)->index);
}

}  // namespace erlang_python
