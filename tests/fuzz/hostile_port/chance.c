#include "chance.h"

static uint64_t chance;

void seed_chance(uint64_t seed) {
  chance = seed;
  for (int at = 0; at < 8; ++at) next();
}
// xorshift64*: small, and the same everywhere.
uint64_t next(void) {
  chance ^= chance >> 12;
  chance ^= chance << 25;
  chance ^= chance >> 27;
  return chance * UINT64_C(2685821657736338717);
}
size_t below(size_t n) { return n == 0 ? 0 : (size_t)((next() >> 11) % n); }
int one_in(size_t n) { return below(n) == 0; }
