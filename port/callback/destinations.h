#pragma once

#include <cstdint>

#include "etf/term_reader.h"

namespace erlang_python {

/// Processes that a thread sends messages to are asked for once, not with every message: a process that was there at
/// the first message of a request, or some milliseconds ago, counts as being there. Each thread remembers its own.

/// True when the calling thread has found the destination `etf` lately.
bool destination_checked(Bytes etf, std::int64_t now_ns);
void remember_destination(Bytes etf, std::int64_t now_ns);
/// A request begins in the calling thread.
void forget_checked_destinations();

}  // namespace erlang_python
