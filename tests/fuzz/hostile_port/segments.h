// Segments: large binaries that are not in the frames.
#pragma once

// One lie, or a truth among them.
void lie_about_segments(void);
// Of what Erlang has lent.
void give_back_a_segment(void);
