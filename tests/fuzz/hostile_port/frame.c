#include "frame.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

uint8_t out[kMaxOut + 64];
size_t used;

void write_all(const uint8_t* bytes, size_t size) {
  while (size > 0) {
    const ssize_t n = write(STDOUT_FILENO, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // closed, by us or by Erlang: goes on all the same
    bytes += n;
    size -= (size_t)n;
  }
}
void put(const void* bytes, size_t size) {
  if (size > kMaxOut - used) size = kMaxOut - used;
  memcpy(out + 4 + used, bytes, size);
  used += size;
}
void byte(unsigned value) {
  const uint8_t b = (uint8_t)value;
  put(&b, 1);
}
void number(uint64_t value, int size) {
  for (int at = size - 1; at >= 0; --at) byte((unsigned)(value >> (8 * at)) & 0xffu);
}
void integer(int64_t value) {
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
void atom(const char* name) {
  byte(119);
  byte((unsigned)strlen(name));
  put(name, strlen(name));
}
void binary(const void* bytes, size_t size) {
  byte(109);
  number(size, 4);
  put(bytes, size);
}
void text(const char* value) { binary(value, strlen(value)); }
void tuple(unsigned size) {
  byte(104);
  byte(size);
}
void list(size_t size) {
  byte(108);
  number(size, 4);
}
void pair(void) { list(1); }
void nil(void) { byte(106); }
void begin(void) { used = 0; }
void header(int64_t operation, unsigned elements) {
  begin();
  byte(131);
  tuple(elements + 1);
  integer(operation);
}
void send_as(uint32_t length) {
  const uint8_t size[] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
  memcpy(out, size, 4);
  write_all(out, used + 4);
}
void send_frame(void) { send_as((uint32_t)used); }
