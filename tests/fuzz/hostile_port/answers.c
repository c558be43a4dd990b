#include "answers.h"

#include <string.h>
#include <unistd.h>

#include "chance.h"
#include "frame.h"
#include "seen.h"
#include "segment_file.h"
#include "segments.h"

static enum Mode mode = kMixed;
static int is_ready;

void set_mode(enum Mode chosen) { mode = chosen; }

static void reply_begin(const Names* names, uint64_t slot) {
  header(1, 2);
  put(names->alias, names->alias_size);
  integer((int64_t)slot);
  byte(131);
}
static void get_ready(void) {
  if (is_ready) return;
  is_ready = 1;
  header(3, 1);
  byte(116), number(3, 4);
  atom("os_pid"), integer(one_in(3) ? 1 : getpid());
  atom("python_version"), text("3.13.0");
  atom("owngil"), atom("true");
  send_frame();
}
static void greet(void) {
  if (mode == kGreeting && one_in(3)) act(one_in(2) ? kRandom : kMixed);
  const int waits = announce_segment_file(mode == kGreeting || ((mode == kSegments || mode == kMixed) && one_in(4)));
  if (!waits || one_in(8)) get_ready();
}
static void answer_control(int operation, const Names* names) {
  if (mode == kGreeting && one_in(4)) {
    act(kMixed);
    return;
  }
  if (operation == 17 || operation == 18) return;
  reply_begin(names, 0);
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
}
static void answer_request(const Names* names) {
  if (one_in(3))
    act(one_in(3)                           ? kForged
        : mode == kTruncated && !one_in(20) ? kForged
        : mode == kClosed && !one_in(20)    ? kForged
                                            : mode);
  if (mode == kSegments)
    for (size_t left = below(3); left > 0; --left) act(mode);
  if (one_in(8)) return;  // never answered
  if (names->is_stream && one_in(2)) {
    header(16, 1), put(names->alias, names->alias_size);
    byte(131), list(1), integer(42), nil();
    send_frame();
    if (one_in(4)) return;  // waits for its credit
  }
  reply_begin(names, names->slot);
  if (names->is_stream != one_in(40))  // the end of a stream has no value
    atom("ok");
  else
    tuple(2), atom("ok"), integer(42);
  send_frame();
  if (one_in(4)) send_frame();  // twice
}
// The end in order has been asked for.
static void end(void) {
  if (one_in(4)) act(mode);
  if (one_in(3)) return;
  header(20, 0);
  send_frame();
  if (one_in(8)) send_frame();
}

void request(const uint8_t* frame, size_t size) {
  const int operation = operation_of(frame, size);
  size_t inner_size = 0;
  switch (operation) {
    case -1:
      return;
    case 0:
      greet();
      return;
    case 21:
      segment_file_opened(size >= 9 && memcmp(frame + size - 4, "true", 4) == 0);
      get_ready();
      return;
    case 22: {
      const uint8_t* inner = see_with_segments(frame, size, &inner_size);
      if (inner != NULL && operation_of(inner, inner_size) != operation) request(inner, inner_size);
      if (one_in(3)) give_back_a_segment();
      return;
    }
    case 25:
      end();
      return;
    case 24:
      see_discard(frame, size);
      return;
    default:
      break;
  }
  const Names names = see(frame, size);
  if (names.alias == NULL) return;
  if (operation >= 10)  // honestly mostly, else no pool would get up
    answer_control(operation, &names);
  else if (operation != 4 && operation != 6)
    answer_request(&names);
}
