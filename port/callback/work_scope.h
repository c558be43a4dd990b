#pragma once

#include <memory>

#include "callback/asking.h"
#include "callback/guest_waiter.h"
#include "request/origin.h"

namespace erlang_python {

/// While it lives, the calling thread works for a request, which may have ended before or end meanwhile: then the work
/// is nobody's, in the same namespace. Attached, on a thread that is not a context's.
///
/// They lie on top of one another, but greenlets may leave one in the middle first.
class WorkScope {
 public:
  WorkScope(const Asker& asker, const std::shared_ptr<Origin>& origin, Origin::Worker::Kind kind);
  ~WorkScope();
  WorkScope(const WorkScope&) = delete;
  WorkScope& operator=(const WorkScope&) = delete;

 private:
  const Asker asker_;
  GuestWaiter waiter_;
  RequestScope scope_;
  Origin::Worker worker_;
  WorkScope* outer_;
  WorkScope* inner_ = nullptr;
  RequestScope* before_;
};

}  // namespace erlang_python
