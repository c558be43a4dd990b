#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "callback/request_scope.h"
#include "context/request.h"
#include "python/py_ref.h"

namespace erlang_python {

class Context;

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
struct Ticket {
  std::weak_ptr<Context> context;
  std::string alias;  ///< constant
  std::uint32_t flags = 0;
  std::uint32_t slot = 0;  ///< 0 once it was given back
  std::int64_t deadline_ns = 0;
  RequestScope scope;
  std::vector<std::uint8_t> caller;  ///< what scope.caller shows
  PyRef shown_as_main;
  PyRef object;                            ///< the one Python object for it; until it is answered
  Interruption why = Interruption::kNone;  ///< it was cancelled, or is too late
  bool answered = false;
  bool interrupted = false;  ///< KeyboardInterrupt was set in one of its steps
  /// When it was last told to end, by asyncio's cancel() or an interrupt: from then on it is left to its finally blocks
  /// for a while. With a GIL.
  std::int64_t told_ns = 0;
  std::int64_t late_ns = 0;  ///< when it was first told that it is late
  bool stuck_reported = false;

  // Of a stream.
  Credit credit{1000, 1024 * 1024};
  bool waits_for_credit = false;
  std::size_t too_large_bytes = 0;  ///< of an item that no frame can hold

  Bytes alias_bytes() const { return {reinterpret_cast<const std::uint8_t*>(alias.data()), alias.size()}; }
  bool has_credit() const { return credit.items > 0 && credit.bytes > 0; }
};

}  // namespace erlang_python
