#pragma once

#include <cstdint>

#include "protocol/frame.h"
#include "protocol/messages.h"

namespace erlang_python {

/// A frame on its way to the thread of its context. Owns the bytes that `message` points into.
struct Request {
  Frame frame;
  Message message;
  std::int64_t deadline_ns = 0;  ///< 0 for none
};

/// Why a running request is being interrupted.
enum class Interruption : std::uint8_t { kNone, kRequested, kTimeout, kStopped, kCancelled };

}  // namespace erlang_python
