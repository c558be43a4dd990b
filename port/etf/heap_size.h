#pragma once

#include <algorithm>
#include <cstddef>

namespace erlang_python::heap_size {

/// Bytes that a decoded term takes on the heap of a BEAM of 64 bits, beyond the word by which its container holds it.
/// Mirrored by erlang_src/py_term_size.erl, and told to users in docs/types.md. Rather too much than too little: maps
/// of more than 32 keys are trees whose size depends on the hashes, and what binaries take outside of the heap counts.
/// Atoms, small integers and `[]` take nothing.
inline constexpr std::size_t kWord = 8;
inline constexpr std::size_t kCell = 2 * kWord;  ///< of a list, for each element
inline constexpr std::size_t kFloat = 2 * kWord;
inline constexpr std::size_t kIdentifier = 9 * kWord;  ///< pid, reference, port: those of another node are the largest
inline constexpr std::size_t kExport = 6 * kWord;

constexpr std::size_t tuple(std::size_t arity) { return arity == 0 ? 0 : kWord * (arity + 1); }

constexpr std::size_t map(std::size_t pairs) { return pairs <= 32 ? kWord * (2 * pairs + 4) : 5 * kWord * pairs; }

/// Of this many bytes without leading zeros.
constexpr std::size_t integer(std::size_t magnitude_bytes) {
  return magnitude_bytes < 8 ? 0 : kWord * (1 + (magnitude_bytes + 7) / 8);
}

constexpr std::size_t binary(std::size_t bytes) { return bytes + (bytes <= 64 ? 3 : 8) * kWord; }

/// A view of a part of a binary.
constexpr std::size_t bitstring(std::size_t bytes) { return binary(bytes) + 6 * kWord; }

/// Without the terms that follow: a pid, the free variables.
constexpr std::size_t fun(std::size_t free_variables) { return kWord * (7 + free_variables); }

}  // namespace erlang_python::heap_size
