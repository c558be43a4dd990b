// The file whose memory is shared with Erlang, or what is said to be it (docs/protocol.md, "Large values").
#pragma once

#include <stdint.h>

#define SEGMENT_FILE_BYTES (INT64_C(1) << 37)
#define PORTS_SEGMENTS (SEGMENT_FILE_BYTES / 2)  // where the port program's half begins

// Sends SEGMENT_FILE, with lies or mostly none; not 0: the answer is SEGMENTS_OPENED, if the frame is not our end.
int announce_segment_file(int lies);
// What Erlang has answered.
void segment_file_opened(int opened);
int is_memory_shared(void);
// Shrinks, grows, closes or overwrites it, as far as it can.
void change_segment_file(void);
