// Terms in the frame that is being written: random ones, and such as Erlang knows.
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t odd_integer(void);
void bytes(size_t size);  // random ones
void random_term(int depth);
// One that was seen, now and then another one of this node.
void some_alias(void);
void some_pid(void);
void some_slot(void);
// An answer, a list of items, or neither.
void payload(void);
