#include "terms.h"

#include <stdio.h>
#include <string.h>

#include "chance.h"
#include "frame.h"
#include "seen.h"

int64_t odd_integer(void) {
  static const int64_t kOdd[] = {0,     1,         2,         -1,        255,       256,         65535,     65536,
                                 81920, 1LL << 31, 1LL << 32, INT64_MAX, INT64_MIN, (1LL << 62), 1LL << 28, 1000000};
  return one_in(3) ? (int64_t)below(70000) : kOdd[below(sizeof kOdd / sizeof *kOdd)];
}
void bytes(size_t size) {
  while (size-- > 0) byte((unsigned)next() & 0xffu);
}
static void remembered(const Term* term) { put(term->bytes, term->size); }
void random_term(int depth) {
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
        nil();
      return;
    case 6:
      if (alias_count > 0)
        remembered(&aliases[below(alias_count)]);
      else
        nil();
      return;
    case 7:
      nil();
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
        nil();
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
void some_alias(void) {
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
void some_pid(void) {
  if (pid_count == 0 || one_in(12)) {
    atom("none");
    return;
  }
  const Term* pid = &pids[below(pid_count)];
  const size_t from = used;
  put(pid->bytes, pid->size);
  if (one_in(2) && used - from > 12) out[4 + used - 9 - below(2)] ^= (uint8_t)(1u << below(8));
}
void some_slot(void) {
  if (alias_count > 0 && !one_in(3))
    integer((int64_t)slots[below(alias_count)]);
  else
    integer(odd_integer());
}
void payload(void) {
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
      nil();
      return;
    default:
      random_term(3);
  }
}
