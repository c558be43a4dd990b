#pragma once

#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace erlang_python {

class ReceivedSegments;

/// What the next term is, by its tag. One kind may have several tags on the wire.
enum class TermKind {
  kAtom,
  kInteger,  ///< fits in 64 bits signed, or not: see TermReader::read_int64
  kFloat,
  kBinary,
  kString,  ///< STRING_EXT: a list of bytes
  kNil,
  kList,  ///< LIST_EXT, proper or improper: only its end tells
  kTuple,
  kMap,
  kPid,
  kReference,
  kOpaque,   ///< port, fun, export, bitstring: kept as bytes
  kInvalid,  ///< unknown tag, or no bytes left
};

/// Reads terms of the external term format from borrowed bytes.
///
/// `ei_decode_*` does not know where the buffer ends, so every read first checks that the bytes it will touch are
/// there. A failed read returns nullopt or false and leaves the position where it was. The bytes must outlive the
/// reader and every view it returns. Not thread-safe; holds no Python objects.
class TermReader {
 public:
  explicit TermReader(Bytes bytes, ReceivedSegments* segments = nullptr) : bytes_(bytes), segments_(segments) {}

  /// The large binaries of the frame, which are not in it; null when it has none.
  ReceivedSegments* segments() const { return segments_; }

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }
  bool at_end() const { return remaining() == 0; }

  /// The version byte 131 that opens every external term.
  [[nodiscard]] bool read_version();

  TermKind peek() const;

  /// An atom's name as UTF-8. OTP 25 writes names within Latin-1 in that encoding; the text made from one that is not
  /// ASCII is kept by the reader, so the view lives as long as the reader.
  std::optional<std::string_view> read_atom();

  /// An atom's name as it is on the wire, in Latin-1 if next_is_latin1_atom() said so, else in UTF-8.
  std::optional<Bytes> read_atom_bytes();
  bool next_is_latin1_atom() const;

  /// An integer of at most 64 bits; nullopt for a larger one (then read_big works) and for other terms.
  std::optional<std::int64_t> read_int64();

  struct BigInteger {
    bool negative;
    Bytes magnitude;  ///< little-endian
  };
  /// SMALL_BIG_EXT or LARGE_BIG_EXT of any size.
  std::optional<BigInteger> read_big();

  /// Always finite: Erlang has no other floats.
  std::optional<double> read_double();

  /// A whole binary (not a bitstring).
  std::optional<Bytes> read_binary();

  /// STRING_EXT: the bytes that are the list's elements.
  std::optional<Bytes> read_string();

  /// Number of elements; they follow. At least that many bytes remain, so reserving for them is safe.
  std::optional<std::size_t> read_tuple_header();
  /// Number of elements before the tail; elements and then the tail follow. NIL_EXT gives 0 and has no tail.
  std::optional<std::size_t> read_list_header();
  /// Consumes a NIL_EXT tail if the next term is one.
  [[nodiscard]] bool read_nil();
  /// Number of pairs; key, value, key, value ... follow.
  std::optional<std::size_t> read_map_header();

  /// Passes over one term of any kind and returns its bytes, without a version byte. `levels`: how deep it may be; no
  /// more than kMaxDepth.
  std::optional<Bytes> skip(std::size_t levels = kMaxDepth);
  /// The same at any depth, without the stack that a check of how large a fun says to be would need.
  std::optional<Bytes> skip_deep();

  /// The same, and calls `visitor` with the UTF-8 name of each atom in the term, also of node and module names; it may
  /// have seen some when the term turns out to be malformed. Adds to `heap_bytes` what the term takes when it is
  /// decoded (etf/heap_size.h).
  using AtomVisitor = std::function<void(std::string_view)>;
  std::optional<Bytes> skip(const AtomVisitor& visitor, std::size_t& heap_bytes);

  /// An atom or a binary as text; the two are interchangeable for names in requests.
  std::optional<std::string_view> read_name();

  /// The bytes between an earlier position() and this one.
  Bytes since(std::size_t position) const { return bytes_.subspan(position, position_ - position); }

  /// Sets the position back to one that position() returned.
  void rewind(std::size_t position) { position_ = position; }

  /// Levels of nesting in a term that is accepted; a list of integers has one.
  static constexpr std::size_t kMaxDepth = 1000;

 private:
  struct SkipStep;
  struct Observer;

  bool has(std::size_t count) const { return remaining() >= count; }
  std::uint8_t byte(std::size_t offset) const { return bytes_[position_ + offset]; }
  std::size_t half_word(std::size_t offset) const { return read_be16(bytes_.data() + position_ + offset); }
  std::uint32_t word(std::size_t offset) const { return read_be32(bytes_.data() + position_ + offset); }
  const char* ei_bytes() const;
  Bytes take(std::size_t header, std::size_t count);
  bool skip_one(SkipStep& step, Observer* observer);
  std::optional<Bytes> skip_term(Observer* observer, std::size_t levels);

  Bytes bytes_;
  ReceivedSegments* segments_;
  std::size_t position_ = 0;
  std::forward_list<std::string> latin1_names_;
};

}  // namespace erlang_python
