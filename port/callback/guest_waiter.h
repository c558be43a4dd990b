#pragma once

#include "callback/asking.h"

namespace erlang_python {

/// A thread that Python started, while it waits for Erlang: requests that its callback makes run in it, as guests.
class GuestWaiter final : public CallbackWaiter {
 public:
  /// `asker` outlives it.
  explicit GuestWaiter(const Asker& asker) : asker_(asker) {}

  bool in_context() const override { return false; }
  /// Of work: none when its request has ended.
  RequestScope* scope_now(RequestScope& scope, PyObject* module) override;
  std::uint64_t chain_of(RequestScope& scope, bool waits) override;
  std::uint64_t new_id(const RequestScope& scope) override;
  void drop_id(std::uint64_t id) override { asker_.link.callbacks.forget(id); }
  std::optional<Answer> await_result(std::uint64_t id, std::uint64_t chain) override;
  int watch_mail(bool) override { return -1; }
  void serve_watched() override {}

  void serve(const Request& request);

 private:
  std::nullopt_t interrupted(std::uint64_t id);

  const Asker& asker_;
};

/// Runs a request from an inbox in the calling thread, while no coroutine of its loop runs; one that has waited beyond
/// its deadline is answered {error, timeout}.
void serve_nested(const Asker& asker, const Request& request);
/// Nobody is left who would serve it: it is answered {error, cancelled}.
void cancel_nested(const ErlangLink& link, const Request& request);

}  // namespace erlang_python
