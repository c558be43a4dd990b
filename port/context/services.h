#pragma once

#include "base/mutex.h"
#include "callback/callback_sender.h"
#include "callback/callbacks.h"
#include "callback/erlang_link.h"
#include "context/announced_atoms.h"
#include "context/spin_policy.h"
#include "protocol/port_config.h"
#include "runtime/dispatcher.h"
#include "runtime/output_sink.h"
#include "runtime/stdin_reader.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"
#include "sandbox/sandbox.h"

namespace erlang_python {

class PortLoop;
class Segments;

/// What every context of the port process shares. Built by main, outlives all contexts.
struct Services {
  const PortConfig& config;
  StdinReader& reader;
  StdoutWriter& writer;
  OutputSink& output;
  Ticker& ticker;
  PortLoop& loop;
  Dispatcher& dispatcher;
  AnnouncedAtoms& atoms;
  Callbacks& callbacks;
  CallbackSender& calls;
  const ErlangLink& link;
  ThreadCensus& census;
  Mutex& interpreter_creation_mu;
  Sandbox& sandbox;
  Segments* segments;  ///< null: large values go through the pipe
};

}  // namespace erlang_python
