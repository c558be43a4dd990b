// Whatever the bytes are, skip() stays inside them, and what it accepts is a term that it accepts again by itself.
#include <cstdlib>

#include "etf/term_reader.h"

using namespace erlang_python;

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  TermReader reader(Bytes(data, size));
  static_cast<void>(reader.read_version());
  const std::size_t start = reader.position();
  const auto term = reader.skip();
  if (!term) {
    require(reader.position() == start);
    return 0;
  }
  require(!term->empty() && reader.position() == start + term->size());

  std::size_t atom_bytes = 0;
  std::size_t heap_bytes = 0;
  TermReader again(*term);
  const auto whole = again.skip([&](std::string_view name) { atom_bytes += name.size(); }, heap_bytes);
  require(whole && again.at_end() && atom_bytes <= 2 * term->size());
  require(heap_bytes <= 100 * term->size());  // a fun without free variables takes most

  TermReader cut(term->first(term->size() - 1));
  require(!cut.skip());
  return 0;
}
