#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "protocol/frame.h"
#include "protocol/messages.h"
#include "python/namespace.h"
#include "python/py_ref.h"
#include "request/escalation.h"
#include "request/origin.h"

namespace erlang_python {

/// What a request that has given way to others goes on with. Filled and emptied by the context's thread, attached;
/// elsewhere it is only moved.
struct Rest {
  PyRef work;                       ///< an erlang._schedule.Scheduled; none: the request has not begun
  std::shared_ptr<Namespace> home;  ///< of its process, else the shared one
  PyRef variables;                  ///< those of a process that has no namespace
  std::uint64_t chain = 0;          ///< that of its scope
  std::shared_ptr<Origin> origin;   ///< likewise
};

/// A frame on its way to the thread of its context. Owns the bytes that `message` points into.
struct Request {
  Frame frame;
  Message message;
  std::int64_t deadline_ns = 0;  ///< 0 for none
  Rest rest = {};

  /// What a request leaves behind that was answered while it gave way.
  static Request husk(Rest rest) { return {{}, {}, 0, std::move(rest)}; }
  bool is_husk() const { return rest.work && frame.size() == 0; }
};

}  // namespace erlang_python
