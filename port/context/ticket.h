#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "callback/request_scope.h"
#include "context/request.h"
#include "python/py_ref.h"

namespace erlang_python {

class Context;

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

  // Of a stream: what Erlang has room for.
  std::int64_t items_left = 1000;
  std::int64_t bytes_left = 1024 * 1024;
  bool waits_for_credit = false;

  Bytes alias_bytes() const { return {reinterpret_cast<const std::uint8_t*>(alias.data()), alias.size()}; }
  bool has_credit() const { return items_left > 0 && bytes_left > 0; }
};

}  // namespace erlang_python
