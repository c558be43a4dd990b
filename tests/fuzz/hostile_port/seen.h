// What Erlang has sent that can be used against it: aliases with their slots, pids, and its parts of the segment file.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
  kMaxTerm = 512,   // bytes of an alias or a pid that are remembered
  kRemembered = 64  // of each
};

typedef struct {
  uint8_t bytes[kMaxTerm];
  size_t size;
} Term;

typedef struct {
  const uint8_t* alias;  // NULL: it has none
  size_t alias_size;
  uint64_t slot;
  int is_stream;
} Names;

extern Term aliases[kRemembered], pids[kRemembered];
extern uint64_t slots[kRemembered];  // those of the aliases
extern int streams[kRemembered];     // whether the alias is that of a stream
extern size_t alias_count, pid_count;
extern uint64_t lent[kRemembered];  // offsets that may be given back
extern size_t lent_count;

// The operation of a frame, -1 when it has none.
int operation_of(const uint8_t* frame, size_t size);
// What is in a frame is remembered; its own names.
Names see(const uint8_t* frame, size_t size);
// The same of WITH_SEGMENTS; the frame that is in it.
const uint8_t* see_with_segments(const uint8_t* frame, size_t size, size_t* inner_size);
// The same of DISCARD.
void see_discard(const uint8_t* frame, size_t size);
