// Stands in the place of the port program and speaks to Erlang as a hostile one would (tests/fuzz/run_hostile).
//
// With a pool of another name than hostile..., and with --kill, it becomes the real program, $HOSTILE_REAL. Otherwise
// it answers INIT and what gets a pool up as docs/protocol.md says, and everything else as $HOSTILE_MODE says:
//
//   random    frames of random bytes and random terms
//   mutated   frames of $HOSTILE_CORPUS, a recorded session, changed
//   lengths   false lengths
//   forged    replies, items, callbacks, messages with aliases, slots and pids that it has seen
//   truncated a part of a frame, then death
//   silence   nothing, now and then
//   flood     many frames of one kind, at most 32 MiB at once
//   closed    closes its output and goes on
//   greeting  wrong frames instead of READY and in the first replies
//   mixed     all of it, each now and then
//
// What it does is made from $HOSTILE_SEED and how often it was started, which is the size of the file $HOSTILE_STARTS.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  kMaxTerm = 512,       // bytes of an alias or a pid that are remembered
  kRemembered = 64,     // of each
  kMaxIn = 4 << 20,     // bytes of input that are kept
  kMaxOut = 2 << 20,    // of a frame that is written
  kMaxFlood = 32 << 20  // bytes of a flood
};

enum Mode { kRandom, kMutated, kLengths, kForged, kTruncated, kSilence, kFlood, kClosed, kGreeting, kMixed, kModes };
static const char* const kModeNames[] = {"random",  "mutated", "lengths", "forged",   "truncated",
                                         "silence", "flood",   "closed",  "greeting", "mixed"};

typedef struct {
  uint8_t bytes[kMaxTerm];
  size_t size;
} Term;

static uint64_t chance;
static enum Mode mode = kMixed;
static Term aliases[kRemembered], pids[kRemembered];
static uint64_t slots[kRemembered];
static size_t alias_count, pid_count;
static uint8_t* corpus;
static size_t corpus_size;
static uint8_t out[kMaxOut + 64];
static size_t used;

// xorshift64*: small, and the same everywhere.
static uint64_t next(void) {
  chance ^= chance >> 12;
  chance ^= chance << 25;
  chance ^= chance >> 27;
  return chance * UINT64_C(2685821657736338717);
}
static size_t below(size_t n) { return n == 0 ? 0 : (size_t)((next() >> 11) % n); }
static int one_in(size_t n) { return below(n) == 0; }

// Output.

static void write_all(const uint8_t* bytes, size_t size) {
  while (size > 0) {
    const ssize_t n = write(STDOUT_FILENO, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // closed, by us or by Erlang: goes on all the same
    bytes += n;
    size -= (size_t)n;
  }
}
static void put(const void* bytes, size_t size) {
  if (size > kMaxOut - used) size = kMaxOut - used;
  memcpy(out + 4 + used, bytes, size);
  used += size;
}
static void byte(unsigned value) {
  const uint8_t b = (uint8_t)value;
  put(&b, 1);
}
static void number(uint64_t value, int size) {
  for (int at = size - 1; at >= 0; --at) byte((unsigned)(value >> (8 * at)) & 0xffu);
}
static void integer(int64_t value) {
  if (value >= 0 && value < 256) {
    byte(97);
    byte((unsigned)value);
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    byte(98);
    number((uint64_t)value, 4);
  } else {
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    byte(110);
    byte(8);
    byte(value < 0);
    for (int at = 0; at < 8; ++at, size >>= 8) byte((unsigned)size & 0xffu);
  }
}
static void atom(const char* name) {
  byte(119);
  byte((unsigned)strlen(name));
  put(name, strlen(name));
}
static void binary(const void* bytes, size_t size) {
  byte(109);
  number(size, 4);
  put(bytes, size);
}
static void text(const char* value) { binary(value, strlen(value)); }
static void tuple(unsigned size) {
  byte(104);
  byte(size);
}
static void list(size_t size) {
  byte(108);
  number(size, 4);
}
static void begin(void) { used = 0; }
// A frame of this operation with so many elements more.
static void header(int64_t operation, unsigned elements) {
  begin();
  byte(131);
  tuple(elements + 1);
  integer(operation);
}
static void send_as(uint32_t length) {
  const uint8_t size[] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
  memcpy(out, size, 4);
  write_all(out, used + 4);
}
static void send_frame(void) { send_as((uint32_t)used); }

// Terms.

static int64_t odd_integer(void) {
  static const int64_t kOdd[] = {0,     1,         2,         -1,        255,       256,         65535,     65536,
                                 81920, 1LL << 31, 1LL << 32, INT64_MAX, INT64_MIN, (1LL << 62), 1LL << 28, 1000000};
  return one_in(3) ? (int64_t)below(70000) : kOdd[below(sizeof kOdd / sizeof *kOdd)];
}
static void bytes(size_t size) {
  while (size-- > 0) byte((unsigned)next() & 0xffu);
}
static void remembered(const Term* term) { put(term->bytes, term->size); }
static void random_term(int depth) {
  static const char* const kAtoms[] = {"ok",   "error",        "exception", "EXIT", "stop",   "$gen_call", "cancelled",
                                       "none", "context_died", "killed",    "DOWN", "system", "py_reply",  "too_large"};
  char name[32];
  switch (below(depth > 0 ? 15 : 9)) {
    case 0:
      integer(odd_integer());
      return;
    case 1:
      atom(kAtoms[below(sizeof kAtoms / sizeof *kAtoms)]);
      return;
    case 2:
      snprintf(name, sizeof name, "hostile_new_%zu", below(100000));
      atom(name);
      return;
    case 3: {
      const size_t size = below(one_in(10) ? 10000 : 20);
      byte(109);
      number(size, 4);
      bytes(size);
      return;
    }
    case 4:
      byte(70), bytes(8);
      return;  // a float, perhaps none
    case 5:
      if (pid_count > 0)
        remembered(&pids[below(pid_count)]);
      else
        byte(106);
      return;
    case 6:
      if (alias_count > 0)
        remembered(&aliases[below(alias_count)]);
      else
        byte(106);
      return;
    case 7:
      byte(106);
      return;
    case 8:  // a length that is not there
      byte((unsigned[]){105, 108, 109, 116, 110, 111, 80, 107, 114, 88, 112, 113}[below(12)]);
      number(one_in(2) ? 0xffffffffu : next() & 0x7fffffffu, 4);
      return;
    case 9:
    case 10:
    case 11: {
      const unsigned size = (unsigned)below(8);
      tuple(size);
      for (unsigned at = 0; at < size; ++at) random_term(depth - 1);
      return;
    }
    case 12:
    case 13: {
      const size_t size = below(6);
      list(size);
      for (size_t at = 0; at < size; ++at) random_term(depth - 1);
      if (one_in(6))
        random_term(0);
      else
        byte(106);
      return;
    }
    default: {
      const size_t size = below(4);
      byte(116);
      number(size, 4);
      for (size_t at = 0; at < 2 * size; ++at) random_term(depth - 1);
    }
  }
}
static void some_alias(void) {
  if (alias_count == 0) {
    random_term(0);
    return;
  }
  const Term* alias = &aliases[below(alias_count)];
  const size_t from = used;
  put(alias->bytes, alias->size);
  // Another one of this node: a bit of its number.
  if (one_in(4) && used - from > 12) out[4 + used - 1 - below(12)] ^= (uint8_t)(1u << below(8));
}
static void some_pid(void) {
  if (pid_count == 0 || one_in(12)) {
    atom("none");
    return;
  }
  const Term* pid = &pids[below(pid_count)];
  const size_t from = used;
  put(pid->bytes, pid->size);
  if (one_in(2) && used - from > 12) out[4 + used - 9 - below(2)] ^= (uint8_t)(1u << below(8));
}
static void some_slot(void) {
  if (alias_count > 0 && !one_in(3))
    integer((int64_t)slots[below(alias_count)]);
  else
    integer(odd_integer());
}
static void payload(void) {
  byte(131);
  switch (below(8)) {
    case 0:
      atom("ok");
      return;
    case 1:
    case 2:
      tuple(2);
      atom("ok");
      random_term(2);
      return;
    case 3:
      tuple(3);
      atom("exception");
      text("ValueError");
      random_term(1);
      return;
    case 4:
      tuple(2);
      atom("error");
      random_term(2);
      return;
    case 5:
      list(3);
      random_term(1);
      random_term(1);
      random_term(1);
      byte(106);
      return;
    default:
      random_term(3);
  }
}

// What it does.

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
static void a_forged_frame(void) {
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
      header(15, 1), list(2), some_slot(), some_slot(), byte(106);
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
      byte(131), list(1), random_term(2), byte(106);
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
      header(9, 1), list(1), text("hostile_new_named"), byte(106);
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
static void act(enum Mode how) {
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
    case kClosed:
      close(STDOUT_FILENO);
      break;
    default:
      act((enum Mode)below(kMixed));
  }
}

// Input.

// The size of the reference or pid that begins here, 0 when there is none.
static size_t identifier(const uint8_t* p, size_t size) {
  if (size < 8) return 0;
  const size_t node = p[0] == 90 ? 3 : 1;
  if ((p[0] != 90 && p[0] != 88) || (p[node] != 119 && p[node] != 118 && p[node] != 100)) return 0;
  const size_t name = p[node] == 119 ? 2 + (size_t)p[node + 1] : 3 + ((size_t)p[node + 1] << 8 | p[node + 2]);
  const size_t whole = node + name + (p[0] == 90 ? 4 + 4 * ((size_t)p[1] << 8 | p[2]) : 12);
  return whole <= size && whole <= kMaxTerm ? whole : 0;
}
static void remember(Term* into, const uint8_t* p, size_t size) {
  memcpy(into->bytes, p, size);
  into->size = size;
}
static void reply_begin(const uint8_t* alias, size_t size, uint64_t slot) {
  header(1, 2);
  put(alias, size);
  integer((int64_t)slot);
  byte(131);
}
static void greet(void) {
  if (mode == kGreeting && one_in(3)) {
    act(one_in(2) ? kRandom : kMixed);
  }
  header(3, 1);
  byte(116), number(3, 4);
  atom("os_pid"), integer(one_in(3) ? 1 : getpid());
  atom("python_version"), text("3.13.0");
  atom("owngil"), atom("true");
  send_frame();
}
static void request(const uint8_t* frame, size_t size) {
  if (size < 5 || frame[0] != 131 || frame[1] != 104 || frame[3] != 97) return;
  const unsigned operation = frame[4];
  if (operation == 0) {
    greet();
    return;
  }
  const uint8_t* alias = NULL;
  size_t alias_size = 0;
  uint64_t slot = 0;
  for (size_t at = 5; at < size && at < 600; ++at) {
    const size_t found = identifier(frame + at, size - at);
    if (found == 0) continue;
    if (frame[at] == 88) {
      remember(&pids[pid_count < kRemembered ? pid_count++ : below(kRemembered)], frame + at, found);
    } else if (alias == NULL) {
      alias = frame + at, alias_size = found;
      const uint8_t* after = alias + found;
      if (operation <= 5 && size - at > found + 5) {
        slot = after[0] == 97   ? after[1]
               : after[0] == 98 ? (uint64_t)after[1] << 24 | after[2] << 16 | after[3] << 8 | after[4]
                                : 0;
      }
      const size_t place = alias_count < kRemembered ? alias_count++ : below(kRemembered);
      remember(&aliases[place], alias, found);
      slots[place] = slot;
    }
    at += found - 1;
  }
  if (alias == NULL) return;
  if (operation >= 10) {  // honestly mostly, else no pool would get up
    if (mode == kGreeting && one_in(4)) {
      act(kMixed);
      return;
    }
    if (operation == 17 || operation == 18) return;
    reply_begin(alias, alias_size, 0);
    switch (operation) {
      case 11:
      case 20:
        atom("ok");
        break;
      case 13:
        tuple(2), atom("ok"), atom("not_running");
        break;
      case 14:
        tuple(2), atom("ok"), byte(116), number(1, 4), atom("rss"), integer(1000);
        break;
      case 19:
        tuple(2), atom("ok"), atom("ok");
        break;
      default:
        tuple(2), atom("ok"), integer(1);
    }
    send_frame();
    return;
  }
  if (operation == 4 || operation == 6) return;
  if (one_in(3))
    act(one_in(3)                           ? kForged
        : mode == kTruncated && !one_in(20) ? kForged
        : mode == kClosed && !one_in(20)    ? kForged
                                            : mode);
  if (one_in(8)) return;  // never answered
  reply_begin(alias, alias_size, slot);
  tuple(2), atom("ok"), integer(42);
  send_frame();
  if (one_in(4)) send_frame();  // twice
}

static void read_corpus(const char* path) {
  const int fd = path ? open(path, O_RDONLY) : -1;
  struct stat facts;
  if (fd < 0 || fstat(fd, &facts) != 0) return;
  corpus = malloc((size_t)facts.st_size + 1);
  const ssize_t n = corpus ? read(fd, corpus, (size_t)facts.st_size) : 0;
  corpus_size = n > 0 ? (size_t)n : 0;
  close(fd);
}
static uint64_t starts(const char* path) {
  const int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
  struct stat facts = {0};
  if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &facts) != 0) return 0;
  close(fd);
  return (uint64_t)facts.st_size;
}

int main(int argc, char** argv) {
  const char* real = getenv("HOSTILE_REAL");
  if (argc < 3 || strncmp(argv[1], "hostile", 7) != 0) {
    if (real != NULL) execv(real, argv);
    fprintf(stderr, "hostile_port: HOSTILE_REAL is not the port program\n");
    return 2;
  }
  // The mark of the pool (port/runtime/process_tree.h): what Erlang kills it by. Nor does it outlive a round by much.
  const rlim_t mark = ((rlim_t)1 << 62) + strtoull(argv[2], NULL, 10);
  setrlimit(RLIMIT_RTTIME, &(struct rlimit){mark, mark});
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  alarm(180);
  signal(SIGPIPE, SIG_IGN);
  const char* wanted = getenv("HOSTILE_MODE");
  for (int at = 0; wanted && at < kModes; ++at)
    if (strcmp(wanted, kModeNames[at]) == 0) mode = (enum Mode)at;
  const char* seed = getenv("HOSTILE_SEED");
  chance = (seed ? strtoull(seed, NULL, 10) : 1) * 1000003u + starts(getenv("HOSTILE_STARTS")) * 7919u + 1;
  for (int at = 0; at < 8; ++at) next();
  read_corpus(getenv("HOSTILE_CORPUS"));

  uint8_t* in = malloc(kMaxIn);
  size_t have = 0, skip = 0;
  for (;;) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&input, 1, 100);
    if (ready == 0 && one_in(10) && alias_count > 0) a_forged_frame();
    if (ready <= 0) continue;
    const ssize_t n = read(STDIN_FILENO, in + have, kMaxIn - have);
    if (n <= 0) {
      if (mode == kClosed || one_in(8))
        for (;;) pause();  // until it is killed
      return 0;
    }
    have += (size_t)n;
    size_t at = 0;
    for (;;) {
      if (skip > 0) {
        const size_t some = skip < have - at ? skip : have - at;
        at += some, skip -= some;
      }
      if (have - at < 4) break;
      const size_t length = (size_t)in[at] << 24 | (size_t)in[at + 1] << 16 | (size_t)in[at + 2] << 8 | in[at + 3];
      if (length > kMaxIn / 2) {
        at += 4, skip = length;
        continue;
      }
      if (have - at - 4 < length) break;
      request(in + at + 4, length);
      at += 4 + length;
    }
    memmove(in, in + at, have - at);
    have -= at;
  }
}
