// What decides: the same for the same seed.
#pragma once

#include <stddef.h>
#include <stdint.h>

void seed_chance(uint64_t seed);
uint64_t next(void);
size_t below(size_t n);  // 0 for 0
int one_in(size_t n);
