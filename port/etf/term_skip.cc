#include <algorithm>
#include <array>

#include "etf/heap_size.h"
#include "etf/tags.h"
#include "etf/term_reader.h"

namespace erlang_python {

using namespace etf;

/// What a term holds beyond its own bytes. Without initialisers, which an array of a thousand of them would run.
struct TermReader::SkipStep {
  std::size_t children;  ///< terms that follow and belong to it
  std::size_t end;       ///< position where the last child must end; 0: anywhere
};

/// Who wants to know what is passed over.
struct TermReader::Observer {
  const AtomVisitor& visitor;
  std::size_t& heap_bytes;
};

/// Passes over the next term without the terms inside it.
bool TermReader::skip_one(SkipStep& step, Observer* observer) {
  const auto takes = [observer](std::size_t heap_bytes) {
    if (observer != nullptr) observer->heap_bytes += heap_bytes;
    return true;
  };
  const auto pass = [this](std::size_t count) {
    if (!has(count)) return false;
    position_ += count;
    return true;
  };
  // Pids, ports and references: a node name and fixed bytes after it.
  const auto pass_node_then = [&](std::size_t header, std::size_t count) {
    if (!pass(header)) return false;
    const auto node = read_atom();
    if (!node || !pass(count)) return false;
    if (observer != nullptr) observer->visitor(*node);
    return takes(heap_size::kIdentifier);
  };

  if (at_end()) return false;
  switch (byte(0)) {
    case kLatin1Atom:
    case kSmallLatin1Atom:
    case kUtf8Atom:
    case kSmallUtf8Atom: {
      if (observer == nullptr) return read_atom_bytes().has_value();
      const auto name = read_atom();
      if (name) observer->visitor(*name);
      return name.has_value();
    }
    case kSmallInteger:
      return pass(2);
    case kInteger:
      return pass(5);
    case kSmallBig:
    case kLargeBig: {
      const auto number = read_big();
      return number && takes(heap_size::integer(number->magnitude.size()));
    }
    case kNewFloat:
      return pass(9) && takes(heap_size::kFloat);
    case kBinary: {
      const auto bytes = read_binary();
      return bytes && takes(heap_size::binary(bytes->size()));
    }
    case kString: {
      const auto elements = read_string();
      return elements && takes(heap_size::kCell * elements->size());
    }
    case kNil:
      return pass(1);
    case kList: {
      const auto count = read_list_header();
      if (count) step.children = *count + 1;
      return count && takes(heap_size::kCell * *count);
    }
    case kSmallTuple:
    case kLargeTuple: {
      const auto arity = read_tuple_header();
      if (arity) step.children = *arity;
      return arity && takes(heap_size::tuple(*arity));
    }
    case kMap: {
      const auto pairs = read_map_header();
      if (pairs) step.children = *pairs * 2;
      return pairs && takes(heap_size::map(*pairs));
    }
    case kPid:  // id, serial, creation
      return pass_node_then(1, 4 + 4 + 1);
    case kNewPid:
      return pass_node_then(1, 4 + 4 + 4);
    case kPort:  // id, creation
    case kReference:
      return pass_node_then(1, 4 + 1);
    case kNewPort:
      return pass_node_then(1, 4 + 4);
    case kV4Port:
      return pass_node_then(1, 8 + 4);
    case kNewReference:
    case kNewerReference: {
      if (!has(3)) return false;
      const std::size_t words = half_word(1);
      const std::size_t creation = byte(0) == kNewReference ? 1 : 4;
      return words > 0 && words <= 5 && pass_node_then(3, creation + 4 * words);
    }
    case kBitBinary: {
      if (!has(6)) return false;
      const std::size_t length = word(1);
      const std::uint8_t bits = byte(5);
      return length > 0 && bits >= 1 && bits <= 8 && remaining() - 6 >= length && pass(6 + length) &&
             takes(heap_size::bitstring(length));
    }
    case kExport:  // module, function, arity
      step.children = 3;
      return pass(1) && takes(heap_size::kExport);
    case kNewFun: {
      // size (counts itself), arity, uniq, index, number of free variables; then module, old index, old uniq, pid and
      // the free variables.
      constexpr std::size_t kFixed = 1 + 4 + 1 + 16 + 4 + 4;
      if (!has(kFixed)) return false;
      const std::size_t size = word(1);
      const std::size_t free_variables = word(kFixed - 4);
      if (size < kFixed - 1 || remaining() - 1 < size || free_variables > size) return false;
      step.children = 4 + free_variables;
      step.end = position_ + 1 + size;
      return pass(kFixed) && takes(heap_size::fun(free_variables));
    }
    default:
      return false;
  }
}

std::optional<Bytes> TermReader::skip_term(Observer* observer, std::size_t levels) {
  const std::size_t start = position_;
  const auto refuse = [&]() -> std::optional<Bytes> {
    position_ = start;
    return std::nullopt;
  };
  // A stack of its own, not recursion: the C stack of a context thread belongs to Python. Left uninitialised, because
  // clearing 16 KiB costs more than most terms.
  std::array<SkipStep, kMaxDepth> open;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  std::size_t depth = 0;
  for (;;) {
    SkipStep step{};
    if (!skip_one(step, observer)) return refuse();
    if (step.children > 0) {
      if (depth >= levels) return refuse();
      open[depth++] = step;
      continue;
    }
    while (depth > 0 && --open[depth - 1].children == 0) {
      --depth;
      if (open[depth].end != 0 && open[depth].end != position_) return refuse();
    }
    if (depth == 0) return bytes_.subspan(start, position_ - start);
  }
}

std::optional<Bytes> TermReader::skip_deep() {
  const std::size_t start = position_;
  for (std::size_t terms = 1; terms > 0; --terms) {
    SkipStep step{};
    if (!skip_one(step, nullptr)) {
      position_ = start;
      return std::nullopt;
    }
    terms += step.children;
  }
  return bytes_.subspan(start, position_ - start);
}

std::optional<Bytes> TermReader::skip(std::size_t levels) { return skip_term(nullptr, std::min(levels, kMaxDepth)); }

std::optional<Bytes> TermReader::skip(const AtomVisitor& visitor, std::size_t& heap_bytes) {
  Observer observer{visitor, heap_bytes};
  return skip_term(&observer, kMaxDepth);
}

}  // namespace erlang_python
