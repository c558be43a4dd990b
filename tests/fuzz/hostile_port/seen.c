#include "seen.h"

#include <string.h>

#include "chance.h"

enum { kStreamFlag = 64 };

Term aliases[kRemembered], pids[kRemembered];
uint64_t slots[kRemembered];
int streams[kRemembered];
size_t alias_count, pid_count;
uint64_t lent[kRemembered];
size_t lent_count;

// The size of the reference or pid that begins here, 0 when there is none.
static size_t identifier(const uint8_t* p, size_t size) {
  if (size < 8) return 0;
  const size_t node = p[0] == 90 ? 3 : 1;
  if ((p[0] != 90 && p[0] != 88) || (p[node] != 119 && p[node] != 118 && p[node] != 100)) return 0;
  const size_t name = p[node] == 119 ? 2 + (size_t)p[node + 1] : 3 + ((size_t)p[node + 1] << 8 | p[node + 2]);
  const size_t whole = node + name + (p[0] == 90 ? 4 + 4 * ((size_t)p[1] << 8 | p[2]) : 12);
  return whole <= size && whole <= kMaxTerm ? whole : 0;
}
static uint64_t big_endian(const uint8_t* p, size_t size) {
  uint64_t value = 0;
  while (size-- > 0) value = value << 8 | *p++;
  return value;
}
// The number that begins here; how many bytes it has, 0 when there is none.
static size_t number_at(const uint8_t* p, size_t size, uint64_t* value) {
  if (size >= 2 && p[0] == 97) {
    *value = p[1];
    return 2;
  }
  if (size >= 5 && p[0] == 98) {
    *value = big_endian(p + 1, 4);
    return 5;
  }
  if (size >= 3 && p[0] == 110 && p[1] <= 8 && size >= 3u + p[1]) {
    *value = 0;
    for (size_t at = p[1]; at > 0; --at) *value = *value << 8 | p[2 + at];
    return 3u + p[1];
  }
  return 0;
}
static size_t a_place(size_t* count) { return *count < kRemembered ? (*count)++ : below(kRemembered); }
static void remember(Term* into, const uint8_t* p, size_t size) {
  memcpy(into->bytes, p, size);
  into->size = size;
}

// What is behind the alias of a request: the slot, and in its fourth number the flags.
static void see_request(const uint8_t* frame, size_t size, size_t at, Names* names) {
  uint64_t numbers[4] = {0, 0, 0, 0};
  for (size_t which = 0; which < 4; ++which) at += number_at(frame + at, size - at, &numbers[which]);
  names->slot = numbers[0];
  names->is_stream = (numbers[3] & kStreamFlag) != 0;
}

int operation_of(const uint8_t* frame, size_t size) {
  return size < 5 || frame[0] != 131 || frame[1] != 104 || frame[3] != 97 ? -1 : frame[4];
}
Names see(const uint8_t* frame, size_t size) {
  Names names = {NULL, 0, 0, 0};
  const int operation = operation_of(frame, size);
  for (size_t at = 5; at < size && at < 600; ++at) {
    const size_t found = identifier(frame + at, size - at);
    if (found == 0) continue;
    if (frame[at] == 88) {
      remember(&pids[a_place(&pid_count)], frame + at, found);
    } else if (names.alias == NULL) {
      names.alias = frame + at, names.alias_size = found;
      if (operation <= 5) see_request(frame, size, at + found, &names);
      const size_t place = a_place(&alias_count);
      remember(&aliases[place], names.alias, found);
      slots[place] = names.slot;
      streams[place] = names.is_stream;
    }
    at += found - 1;
  }
  return names;
}

// A list of `{Offset, Length}` that begins here; how many bytes it has, 0 when it is none.
static size_t see_lent(const uint8_t* p, size_t size) {
  if (size < 5 || p[0] != 108) return 0;
  size_t at = 5;
  for (uint64_t left = big_endian(p + 1, 4); left > 0; --left) {
    uint64_t offset = 0, length = 0;
    if (size - at < 2 || p[at] != 104 || p[at + 1] != 2) return 0;
    at += 2;
    const size_t one = number_at(p + at, size - at, &offset);
    const size_t other = number_at(p + at + one, size - at - one, &length);
    if (one == 0 || other == 0) return 0;
    at += one + other;
    lent[a_place(&lent_count)] = offset;
  }
  return at < size ? at + 1 : 0;  // and its end
}
const uint8_t* see_with_segments(const uint8_t* frame, size_t size, size_t* inner_size) {
  uint64_t slot = 0;
  size_t at = 5;
  at += identifier(frame + at, size - at);
  at += number_at(frame + at, size - at, &slot);
  at += see_lent(frame + at, size - at);
  if (size - at < 5 || frame[at] != 109 || big_endian(frame + at + 1, 4) > size - at - 5) return NULL;
  *inner_size = (size_t)big_endian(frame + at + 1, 4);
  return frame + at + 5;
}
void see_discard(const uint8_t* frame, size_t size) { see_lent(frame + 5, size - 5); }
