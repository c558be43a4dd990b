// Items of one stream travel in one frame, and one that was large leaves no memory taken.
#include "runtime/item_batch.h"

#include <doctest/doctest.h>

using namespace erlang_python;

TEST_CASE("a batch that was large keeps little memory") {
  const std::vector<std::uint8_t> alias{97, 1};
  const std::vector<std::uint8_t> large(8 * 1024 * 1024, 106);
  ItemBatch batch;
  batch.add(alias, large);
  CHECK(batch.held_bytes() >= large.size());
  batch.clear();
  CHECK(batch.empty());
  CHECK(batch.held_bytes() <= ItemBatch::kKeptBytes);
  batch.add(alias, large);
  CHECK(batch.size() > large.size());
}
