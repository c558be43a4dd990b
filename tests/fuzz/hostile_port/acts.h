// What a hostile program does.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum Mode {
  kRandom,     // frames of random bytes and random terms
  kMutated,    // recorded frames, changed
  kLengths,    // false lengths
  kForged,     // replies, items, callbacks, messages with aliases, slots and pids that were seen
  kTruncated,  // a part of a frame, then death
  kSilence,    // nothing, now and then
  kFlood,      // many frames of one kind
  kClosed,     // closes its output and goes on
  kGreeting,   // wrong frames instead of READY and in the first replies
  kSegments,   // lies about shared memory
  kMixed,      // all of it, each now and then
  kModes
};

// kMixed when there is none of this name.
enum Mode mode_named(const char* name);
// A file of frames, each behind the four bytes of its length, for kMutated.
void read_corpus(const char* path);
void act(enum Mode how);
void a_forged_frame(void);
