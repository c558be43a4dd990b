#pragma once

#include "callback/callback_sender.h"
#include "callback/callbacks.h"
#include "conversion/encode.h"
#include "protocol/port_config.h"
#include "runtime/output_sink.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"

namespace erlang_python {

/// Runs requests for their contexts in threads that are not the contexts'.
class GuestServer {
 public:
  virtual ~GuestServer() = default;
  /// Attached to the interpreter of the request's context. `below`: what the thread runs; null for no request.
  virtual void serve_guest(const Request& request, const RequestScope* below) = 0;
};

class SegmentStore;

/// What the module `_erlang` needs of the port. Made by main, outlives all interpreters.
struct ErlangLink {
  OutputSink& output;
  StdoutWriter& writer;
  Ticker& ticker;
  AtomAnnouncer& atoms;
  Callbacks& callbacks;
  CallbackSender& calls;
  GuestServer& guests;
  const PortConfig& config;
  SegmentStore* segments;  ///< null: there is none
};

}  // namespace erlang_python
