#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conversion/encode.h"
#include "etf/term_writer.h"
#include "protocol/messages.h"
#include "python/py_ref.h"
#include "python/standard_streams.h"
#include "request/escalation.h"
#include "request/request.h"
#include "request/request_scope.h"

namespace erlang_python {

class Tasks;

/// What Erlang has room for.
struct Credit {
  std::int64_t items = 0;
  std::int64_t bytes = 0;

  void add(const Credit& more) {
    constexpr std::int64_t kMost = std::int64_t{1} << 40;
    items = std::min(items + std::min(more.items, kMost), kMost);
    bytes = std::min(bytes + std::min(more.bytes, kMost), kMost);
  }
};

/// A request that goes on after its first step, on the event loop of its context: a coroutine, or a stream. Its
/// context's thread only, attached, unless said otherwise.
class Ticket {
 public:
  std::weak_ptr<Tasks> tasks;
  std::string alias;  ///< constant
  std::uint32_t flags = 0;
  std::uint32_t slot = 0;  ///< 0 once it was given back
  std::int64_t deadline_ns = 0;
  RequestScope scope;
  std::vector<std::uint8_t> caller;    ///< what scope.caller shows
  std::shared_ptr<Namespace> home;     ///< likewise scope.home; none when it was answered
  PyRef object;                        ///< the one Python object for it; until it is answered
  StandardStreams::Steps streams;      ///< what its steps have in the place of the standard ones
  bool in_request = false;             ///< Runner::run() has not returned: a step that runs is part of it
  std::int64_t late_ns = 0;            ///< when it was first told that it is late
  std::atomic<bool> answered = false;  ///< the interrupter looks, too

  // Of a stream.
  Credit credit{kFirstCreditItems, kFirstCreditBytes};
  bool waits_for_credit = false;
  std::optional<Excess> too_large;  ///< an item that may not be sent

  Bytes alias_bytes() const { return bytes_of(alias); }
  bool has_credit() const { return credit.items > 0 && credit.bytes > 0; }

 private:
  friend class Interrupter;
  Escalation ending_;  ///< with the lock of the request stack: Interrupter::Locked::ending()
};

}  // namespace erlang_python
