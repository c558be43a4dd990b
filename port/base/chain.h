#pragma once

#include <cstdint>

namespace erlang_python {

// The number of a call chain has two parts. Its *age* is that of the request that began it, and smaller is older. Its
// *line* says by whom of that request it is asked: 0 is the request itself, and each thread that works for it has a
// line of its own, so that what comes back in the chain finds the thread that waits for it. 0 is no chain.

constexpr unsigned kLineBits = 8;

/// `count`: any number that is not that of others now. Beyond 255 of them lines are shared.
constexpr std::uint64_t line_of_chain(std::uint64_t chain, std::uint64_t count) {
  constexpr std::uint64_t kLines = (std::uint64_t{1} << kLineBits) - 1;
  return (chain | kLines) - kLines + 1 + count % kLines;
}

constexpr std::uint64_t age_of_chain(std::uint64_t chain) { return chain >> kLineBits; }

constexpr bool same_age(std::uint64_t chain, std::uint64_t other) { return age_of_chain(chain) == age_of_chain(other); }

/// Whoever waits in the chain `than` serves what `chain` asks for.
constexpr bool not_newer(std::uint64_t chain, std::uint64_t than) { return age_of_chain(chain) <= age_of_chain(than); }

}  // namespace erlang_python
