#pragma once

#include <mutex>

#include "callback/callbacks.h"
#include "context/announced_atoms.h"
#include "context/spin_policy.h"
#include "protocol/port_config.h"
#include "python/erlang_link.h"
#include "runtime/dispatcher.h"
#include "runtime/output_sink.h"
#include "runtime/stdin_reader.h"
#include "runtime/stdout_writer.h"
#include "runtime/ticker.h"

namespace erlang_python {

class PortLoop;

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
  const ErlangLink& link;
  ThreadCensus& census;
  std::mutex& interpreter_creation_mu;
};

}  // namespace erlang_python
