// The frame that is being written, and the terms in it as bytes of the external term format.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { kMaxOut = 2 << 20 };  // bytes of a frame that is written

// The frame is behind the four bytes of its length; `used` are its own bytes.
extern uint8_t out[];
extern size_t used;

void begin(void);
// A frame of this operation with so many elements more.
void header(int64_t operation, unsigned elements);
void put(const void* bytes, size_t size);
void byte(unsigned value);
void number(uint64_t value, int size);
void integer(int64_t value);
void atom(const char* name);
void binary(const void* bytes, size_t size);
void text(const char* value);
void tuple(unsigned size);
void list(size_t size);
// `[Head | Tail]` of an improper list, whose two elements follow.
void pair(void);
void nil(void);

void send_frame(void);
// With another length than it has.
void send_as(uint32_t length);
void write_all(const uint8_t* bytes, size_t size);
