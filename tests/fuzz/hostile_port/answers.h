// How a hostile program answers: as docs/protocol.md says, so that a pool gets up, or not.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "acts.h"

void set_mode(enum Mode mode);
// A frame of Erlang's has come.
void request(const uint8_t* frame, size_t size);
