#include "segments.h"

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "chance.h"
#include "frame.h"
#include "seen.h"
#include "segment_file.h"
#include "terms.h"

enum {
  kLarge = 128 << 10,  // smaller ones are in the frames
  kMaxParts = 4
};

// Whose value it is: the request with this alias, or a callback or, negative, a message.
typedef struct {
  const Term* alias;  // NULL: it has a number
  uint64_t slot;
  int is_stream;
  int64_t number;
} Key;

static Key some_key(void) {
  Key key = {NULL, 0, 0, one_in(3) ? -1 - (int64_t)below(1000) : 1 + (int64_t)below(1000)};
  if (alias_count > 0 && !one_in(3)) {
    const size_t at = below(alias_count);
    key.alias = &aliases[at], key.slot = slots[at], key.is_stream = streams[at];
  }
  return key;
}
static void put_key(const Key* key) {
  if (key->alias != NULL)
    put(key->alias->bytes, key->alias->size);
  else
    integer(key->number);
}
static int64_t some_token(void) { return one_in(4) ? (int64_t)below(8) : (int64_t)(next() >> 2); }

// The announcement.

static void a_part(void) {
  tuple(2);
  integer(PORTS_SEGMENTS + (one_in(3) ? 0 : (int64_t)below((size_t)PORTS_SEGMENTS / 2)));
  integer(kLarge + (int64_t)below(one_in(8) ? 2 << 20 : 512 << 10));
}
static void a_wrong_part(void) {
  static const int64_t kOffsets[] = {0,        1, -1, PORTS_SEGMENTS - 1, SEGMENT_FILE_BYTES - 1, SEGMENT_FILE_BYTES,
                                     INT64_MAX};
  static const int64_t kSizes[] = {0, -1, 1, kLarge - 1, 1LL << 26, 1LL << 32, PORTS_SEGMENTS, INT64_MAX};
  switch (below(4)) {
    case 0:
      tuple(2), integer(kOffsets[below(sizeof kOffsets / sizeof *kOffsets)]), integer(kLarge);
      return;
    case 1:
      tuple(2), integer(PORTS_SEGMENTS), integer(kSizes[below(sizeof kSizes / sizeof *kSizes)]);
      return;
    case 2:
      tuple(3), integer(PORTS_SEGMENTS), integer(kLarge), integer(0);
      return;
    default:
      random_term(1);
  }
}
static void announce(const Key* key, int64_t token, size_t parts, int lies) {
  header(18, 3), put_key(key), integer(token);
  const size_t said = lies && one_in(8) ? parts + 1 : parts;
  list(said);
  for (size_t at = 0; at < parts; ++at) {
    if (lies && one_in(parts))
      a_wrong_part();
    else
      a_part();
  }
  nil();
  send_frame();
}

// The value.

// What stands for a binary, or nearly so.
static void a_place(int64_t token, size_t index) {
  pair();
  integer(one_in(10) ? odd_integer() : token);
  if (one_in(10))
    random_term(0);
  else
    integer(one_in(10) ? odd_integer() : (int64_t)index);
}
static void places(int64_t token, size_t parts) {
  list(parts);
  for (size_t at = 0; at < parts; ++at) {
    switch (below(5)) {
      case 0:
        tuple(2), random_term(1), a_place(token, at);
        break;
      case 1:
        byte(116), number(1, 4), random_term(0), a_place(token, at);
        break;
      case 2:
        random_term(2);  // nothing stands for it
        break;
      default:
        a_place(token, at);
    }
  }
  if (one_in(12))
    a_place(token, 0);
  else
    nil();
}
static void a_callback(const Key* key, int64_t token, size_t parts) {
  header(11, 6), integer((int64_t)below(4)), integer(key->number), integer(1 + (int64_t)below(1000)), integer(0);
  some_pid();
  if (one_in(2)) {
    text("hostile_echo");
    byte(131), list(1), places(token, parts), nil();
  } else if (one_in(2)) {  // shared state that is large
    integer(10);
    byte(131), list(1), atom("hostile_large"), nil();
  } else {
    integer((int64_t)(one_in(2) ? 1 + below(4) : 10 + below(5)));
    byte(131), places(token, parts);
  }
}
static void the_value(const Key* key, int64_t token, size_t parts) {
  if (key->alias != NULL && key->is_stream != one_in(12)) {
    header(16, 1), put_key(key);
    byte(131), places(token, parts);
  } else if (key->alias != NULL) {
    header(1, 2), put_key(key), integer((int64_t)key->slot);
    byte(131), tuple(2), atom("ok"), places(token, parts);
  } else if (key->number > 0) {
    a_callback(key, token, parts);
  } else {
    header(14, 1), integer(key->number);
    byte(131), tuple(2), some_pid(), places(token, parts);
  }
  send_frame();
}
// What may come between segments and their value, or instead of it.
static void a_frame_between(const Key* key) {
  if (key->alias == NULL && one_in(2)) {
    header(13, 1), integer(key->number < 0 ? 0 : key->number);
  } else {
    header(2, 1), put_key(key), bytes(below(100));
  }
  send_frame();
}

// Back to Erlang.

void give_back_a_segment(void) {
  if (lent_count == 0) return;
  const size_t at = below(lent_count);
  header(19, 1), list(1), integer((int64_t)lent[at]), nil();
  lent[at] = lent[--lent_count];
  send_frame();
}
static void give_back_wrongly(void) {
  static const int64_t kOffsets[] = {
      0, 1, 4096, 1 << 20, PORTS_SEGMENTS / 4, PORTS_SEGMENTS - 1, PORTS_SEGMENTS, -1, INT64_MAX};
  const size_t count = one_in(8) ? 2000 : 1 + below(3);
  header(19, 1), list(count);
  for (size_t at = 0; at < count; ++at)  // those that were lent, perhaps twice, and others
    integer(lent_count > 0 && one_in(2) ? (int64_t)lent[below(lent_count)]
                                        : kOffsets[below(sizeof kOffsets / sizeof *kOffsets)]);
  nil();
  send_frame();
}

void lie_about_segments(void) {
  // Without a file, the first frame of these is the end.
  if (!is_memory_shared() && !one_in(40)) {
    if (one_in(2)) change_segment_file();
    return;
  }
  const Key key = some_key();
  const int64_t token = some_token();
  const size_t parts = 1 + below(kMaxParts);
  // What is the end of a port process is rare: the others need one that has lived for a while.
  switch (below(64)) {
    case 0:
      announce(&key, token, one_in(3) ? 500 : parts, 1);
      the_value(&key, token, parts);
      return;
    case 1:
      announce(&key, token, parts, 0);
      announce(&key, some_token(), parts, 0);
      return;
    case 2:
      give_back_wrongly();
      return;
    case 3:
      if (one_in(4))
        announce_segment_file(1);
      else
        give_back_a_segment(), send_frame();  // twice
      return;
    case 4:  // more than may wait
      for (int64_t number = 2000; number < 2100; ++number)
        announce(&(Key){NULL, 0, 0, one_in(2) ? number : -number}, token, kMaxParts, 0);
      return;
    default:
      break;
  }
  switch (below(8)) {
    case 0:  // its value never comes
      announce(&key, token, parts, 0);
      for (size_t left = below(20); left > 0; --left) a_frame_between(&key);
      return;
    case 1:
      the_value(&key, token, parts);
      return;
    case 2:
      for (size_t left = below(lent_count + 1); left > 0; --left) give_back_a_segment();
      return;
    case 3:
      change_segment_file();
      return;
    case 4:
      if (one_in(4)) usleep((useconds_t)below(2000000));  // takes no input
      return;
    default:
      announce(&key, token, parts, 0);
      if (one_in(4)) a_frame_between(&key);
      if (one_in(8)) change_segment_file();
      the_value(&key, token, one_in(6) ? parts + 1 : parts);
  }
}
