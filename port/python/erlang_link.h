#pragma once

#include <cstddef>

#include "callback/callbacks.h"
#include "etf/encode.h"
#include "runtime/output_sink.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"

namespace erlang_python {

/// Runs requests for their contexts in threads that are not the contexts'.
class GuestServer {
 public:
  virtual ~GuestServer() = default;
  /// Attached to the interpreter of the request's context.
  virtual void serve_guest(const Request& request) = 0;
};

/// What the module `_erlang` needs of the port. Made by main, outlives all interpreters.
struct ErlangLink {
  OutputSink& output;
  StdoutWriter& writer;
  Ticker& ticker;
  AtomAnnouncer& atoms;
  Callbacks& callbacks;
  GuestServer& guests;
  std::size_t max_value_bytes;
};

}  // namespace erlang_python
