#include "callback/guest_waiter.h"

#include "base/clock.h"
#include "python/fresh_stack.h"

namespace erlang_python {
namespace {

/// Where the thread sleeps.
class WaitForAnswer final : public Wakeable {
 public:
  WaitForAnswer(Callbacks& callbacks, std::uint64_t id) : callbacks_(callbacks), id_(id) {}
  void wake() noexcept override { callbacks_.wake(id_); }

 private:
  Callbacks& callbacks_;
  const std::uint64_t id_;
};

/// What was set in the calling thread is raised here instead of after the wait. False: nothing was.
bool raise_pending() {
  PyThreadState* const thread = PyThreadState_Get();
  if (thread->async_exc == nullptr) return false;
  const auto exception = PyRef::borrow(thread->async_exc);
  PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), nullptr);
  PyErr_SetNone(exception.get());
  return true;
}

void refuse(const ErlangLink& link, const Request& request, std::string_view why) {
  TermWriter out;
  begin_reply(out, request.message.alias, request.message.slot);
  write_error(out, why);
  finish_frame(out);
  link.writer.send(out.bytes());
}

}  // namespace

RequestScope* GuestWaiter::scope_now(RequestScope& scope, PyObject*) {
  return scope.origin && scope.origin->belonging().ended() ? nullptr : &scope;
}

std::uint64_t GuestWaiter::chain_of(RequestScope& scope, bool waits) {
  // What the loop of a thread waits for is served between its rounds, and not by a coroutine that holds it up.
  if (scope.chain != 0 && (waits || !scope.varies)) return scope.chain;
  Callbacks& callbacks = asker_.link.callbacks;
  const std::uint64_t fresh = callbacks.new_chain();
  const std::uint64_t chain = scope.origin ? callbacks.new_line(scope.origin->chain_or(fresh)) : fresh;
  if (waits) scope.chain = chain;
  return chain;
}

std::uint64_t GuestWaiter::new_id(const RequestScope& scope) {
  return asker_.link.callbacks.begin_thread(scope.chain, asker_.context);
}

std::optional<Answer> GuestWaiter::await_result(std::uint64_t id, std::uint64_t) {
  Callbacks& callbacks = asker_.link.callbacks;
  WaitForAnswer place(callbacks, id);
  for (;;) {
    if (raise_pending()) return interrupted(id);
    std::optional<std::variant<Answer, Request, Callbacks::Woken>> next;
    {
      const WakeSlot::Sleep sleep(place);
      Py_BEGIN_ALLOW_THREADS;
      next.emplace(callbacks.await(id));
      Py_END_ALLOW_THREADS;
    }
    if (auto* answer = std::get_if<Answer>(&*next)) return std::move(*answer);
    if (auto* request = std::get_if<Request>(&*next)) serve(*request);
  }
}

std::nullopt_t GuestWaiter::interrupted(std::uint64_t id) {
  for (const Request& request : asker_.link.callbacks.give_up(id)) cancel_nested(asker_.link, request);
  return std::nullopt;
}

void GuestWaiter::serve(const Request& request) {
  const FreshStack fresh;
  RequestScope* const before = current_scope();
  RequestScope nested{.context = request.message.context,
                      .env = request.message.env,
                      .chain = request.message.chain,
                      .caller = request.message.caller,
                      .waiter = this,
                      .nesting = asker_.link.callbacks.nesting_of(request.message.chain),
                      .above = before == nullptr ? nullptr
                               : before->origin  ? before->origin.get()
                                                 : before->above};
  set_current_scope(&nested);
  asker_.link.guests.serve_guest(request, before);
  set_current_scope(before);
}

void serve_nested(const Asker& asker, const Request& request) {
  if (request.deadline_ns != 0 && now_ns() >= request.deadline_ns) return refuse(asker.link, request, "timeout");
  GuestWaiter(asker).serve(request);
}

void cancel_nested(const ErlangLink& link, const Request& request) { refuse(link, request, "cancelled"); }

}  // namespace erlang_python
