#include "acts.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chance.h"
#include "frame.h"
#include "seen.h"
#include "segments.h"
#include "terms.h"

enum { kMaxFlood = 32 << 20 };  // bytes of a flood

static const char* const kModeNames[] = {"random", "mutated", "lengths",  "forged",   "truncated", "silence",
                                         "flood",  "closed",  "greeting", "segments", "mixed"};
static uint8_t* corpus;
static size_t corpus_size;

enum Mode mode_named(const char* name) {
  for (int at = 0; name && at < kModes; ++at)
    if (strcmp(name, kModeNames[at]) == 0) return (enum Mode)at;
  return kMixed;
}
void read_corpus(const char* path) {
  const int fd = path ? open(path, O_RDONLY) : -1;
  struct stat facts;
  if (fd < 0 || fstat(fd, &facts) != 0) return;
  corpus = malloc((size_t)facts.st_size + 1);
  const ssize_t n = corpus ? read(fd, corpus, (size_t)facts.st_size) : 0;
  corpus_size = n > 0 ? (size_t)n : 0;
  close(fd);
}
static void a_random_frame(void) {
  begin();
  if (one_in(4)) {
    bytes(below(200));
  } else {
    byte(one_in(30) ? (unsigned)next() & 0xffu : 131);
    if (one_in(3)) {
      random_term(4);
    } else {
      const unsigned elements = (unsigned)below(8);
      tuple(elements + 1);
      integer((int64_t)below(20));
      for (unsigned at = 0; at < elements; ++at) random_term(2);
    }
    if (one_in(3)) payload();
  }
  send_frame();
}
// One of the recorded frames; its beginning and size in the corpus.
static size_t a_recorded_frame(size_t* size) {
  size_t at = 0, chosen = 0, seen = 0;
  *size = 0;
  while (corpus_size - at > 4) {
    const size_t length =
        (size_t)corpus[at] << 24 | (size_t)corpus[at + 1] << 16 | (size_t)corpus[at + 2] << 8 | corpus[at + 3];
    if (length > corpus_size - at - 4) break;
    if (one_in(++seen)) chosen = at + 4, *size = length;
    at += 4 + length;
  }
  return chosen;
}
static void a_mutated_frame(void) {
  size_t size = 0;
  const size_t from = a_recorded_frame(&size);
  if (size == 0) {
    a_random_frame();
    return;
  }
  begin();
  put(corpus + from, size);
  const size_t near = one_in(3) ? used : used < 64 ? used : 64;  // headers are in front
  for (size_t changes = 1 + below(4); changes > 0 && used > 0; --changes) {
    const size_t at = below(near < used ? near : used);
    switch (below(6)) {
      case 0:
        out[4 + at] ^= (uint8_t)(1u << below(8));
        break;
      case 1:
        out[4 + at] = (uint8_t)next();
        break;
      case 2:
        used = at;
        break;
      case 3:
        bytes(1 + below(16));
        break;
      case 4:
        memmove(out + 4 + at, out + 5 + at, used - at - 1), --used;
        break;
      default:
        out[4 + at] = (uint8_t[]){0, 1, 127, 128, 255, 131, 104, 108}[below(8)];
    }
  }
  send_frame();
}
static void a_false_length(void) {
  static const uint32_t kFalse[] = {0xffffffffu,       0x80000000u, 0x7fffffffu, 1600000000u, (1u << 20) + 4097,
                                    (1u << 20) + 4096, 1u << 20,    0,           1,           65536};
  begin();
  payload();
  send_as(one_in(3) ? (uint32_t)(used + below(9)) - 4 : kFalse[below(sizeof kFalse / sizeof *kFalse)]);
}
void a_forged_frame(void) {
  static const char* const kNames[] = {"hostile_victim", "init",   "rex",      "py_semaphore",
                                       "py_pools_sup",   "logger", "py_output"};
  switch (below(16)) {
    case 0:
    case 1:
    case 2:
      header(1, 2), some_alias(), some_slot(), payload();
      break;
    case 3:
      header(2, 1), some_alias(), bytes(below(2000));
      break;
    case 4:
    case 5:
      header(16, 1), some_alias(), payload();
      break;
    case 6:
      header(15, 1), list(2), some_slot(), some_slot(), nil();
      break;
    case 7:
    case 8:
      header(11, 6), integer((int64_t)below(4)), integer(1 + (int64_t)below(50)), integer(1 + (int64_t)below(1000)),
          integer(0);
      some_pid();
      if (one_in(3))
        text(one_in(2) ? "hostile_echo" : "no_such_function");
      else
        integer((int64_t)(one_in(2) ? 1 + below(4) : 10 + below(5)));
      byte(131), list(1), random_term(2), nil();
      break;
    case 9:
    case 10: {  // messages
      header(12, 1), integer(1);
      const size_t length_at = used;
      number(0, 4);
      const size_t from = used;
      byte(131), tuple(2);
      if (one_in(2))
        some_pid();
      else
        atom(kNames[below(sizeof kNames / sizeof *kNames)]);
      random_term(3);
      const size_t length = used - from - (one_in(8) ? below(3) : 0);
      out[4 + length_at + 2] = (uint8_t)(length >> 8), out[4 + length_at + 3] = (uint8_t)length;
      break;
    }
    case 11:
      header(13, 1), integer((int64_t)below(60));
      break;
    case 12:
      header(14, 1), integer(-(int64_t)below(5)), payload();
      break;
    case 13:
      header(5, 3), integer(1 + (int64_t)below(2)), integer((int64_t)below(4)), text("said by a hostile port");
      break;
    case 14:
      if (one_in(4))
        header(7, 2), integer((int64_t)below(4)), some_alias();
      else
        header(10, 1), text("it refuses");
      break;
    default:
      header(9, 1), list(1), text("hostile_new_named"), nil();
  }
  send_frame();
}
static void die(void) {
  switch (below(4)) {
    case 0:
      _exit((int)below(256));
    case 1:
      raise(SIGSEGV);
      break;
    case 2:
      raise(SIGKILL);
      break;
    default:
      signal(SIGTERM, SIG_DFL), raise(SIGTERM);
  }
  _exit(3);
}
static void a_part_and_death(void) {
  begin();
  header(1, 2), some_alias(), some_slot(), payload();
  out[0] = out[1] = 0, out[2] = (uint8_t)(used >> 8), out[3] = (uint8_t)used;
  write_all(out, below(used + 4));
  die();
}
static void a_flood(void) {
  a_forged_frame();
  if (one_in(4)) {  // pieces of a value that does not end
    header(2, 1), some_alias();
    bytes(1 << 16);
  }
  const size_t most = below(kMaxFlood), each = used + 4;
  for (size_t written = 0; written < most; written += each) send_frame();
}
void act(enum Mode how) {
  switch (how) {
    case kRandom:
      a_random_frame();
      break;
    case kMutated:
      a_mutated_frame();
      break;
    case kLengths:
      a_false_length();
      break;
    case kForged:
    case kGreeting:
      a_forged_frame();
      break;
    case kTruncated:
      a_part_and_death();
      break;
    case kSilence:
      usleep((useconds_t)below(3000000));
      break;
    case kFlood:
      a_flood();
      break;
    case kSegments:
      lie_about_segments();
      break;
    case kClosed:
      close(STDOUT_FILENO);
      break;
    default:
      act((enum Mode)below(kMixed));
  }
}
