#include "context/tasks.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "callback/erlang_module.h"
#include "context/answers.h"
#include "context/ticket_type.h"
#include "conversion/encode.h"
#include "interpreter/exception.h"
#include "segments/segments.h"

namespace erlang_python {
namespace {

bool is_awaitable(PyObject* value) {
  if (PyCoro_CheckExact(value) != 0) return true;
  const PyAsyncMethods* methods = Py_TYPE(value)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

/// What is left of the time of a request, in seconds, or None.
PyRef time_left(const Request& request) {
  if (request.deadline_ns == 0) return PyRef::borrow(Py_None);
  return PyRef::steal(PyFloat_FromDouble(static_cast<double>(request.deadline_ns - now_ns()) / 1e9));
}

PyRef python_half() { return PyRef::steal(PyImport_ImportModule("erlang._tasks")); }

}  // namespace

Tasks::Tasks(ContextId id, CallbackWaiter& waiter, Levels& levels, Interrupter& interrupter, ContextCounters& counters,
             Services& services)
    : id_(id), waiter_(waiter), levels_(levels), interrupter_(interrupter), counters_(counters), services_(services) {}

void Tasks::open(std::weak_ptr<Tasks> self, const Interpreter& interpreter) {
  self_ = std::move(self);
  interpreter_ = &interpreter;
}

Tasks::Deferral Tasks::defer(const Request& request, PyObject* value) {
  const bool stream = (request.message.flags & kStream) != 0;
  if (!stream && ((request.message.flags & kTask) == 0 || !is_awaitable(value))) return Deferral::kNone;
  // A ticket and its Python object hold each other until remove().
  auto tasks = python_half();
  if (!tasks) return Deferral::kFailed;
  const auto ticket = make(request);
  const auto object = ticket->object.copy();
  if (!object) return Deferral::kFailed;
  add(ticket);
  // On top of a level that waits there can be no loop but one of its own.
  const bool nested = levels_.top_is_nested();
  auto timeout = time_left(request);
  if (nested) interrupter_.stack()->run_own_loop(request.deadline_ns);
  ticket->in_request = true;
  auto started =
      timeout
          ? PyRef::steal(PyObject_CallMethod(tasks.get(), "start", "OOOOO", object.get(), value,
                                             stream ? Py_True : Py_False, timeout.get(), nested ? Py_True : Py_False))
          : PyRef();
  ticket->in_request = false;
  if (!started) {
    remove(*ticket);
    if (!ticket->answered) {
      // An interrupt may hit it when its task has begun: that ends, and has nothing to say any more.
      ticket->answered = true;
      auto exception = PyRef::steal(PyErr_GetRaisedException());
      if (tasks && !PyRef::steal(PyObject_CallMethod(tasks.get(), "abandon", "O", object.get()))) PyErr_Clear();
      PyErr_SetRaisedException(exception.release());
      return Deferral::kFailed;
    }
    PyErr_Clear();  // what ended the loop of its own has ended the request before
    return Deferral::kStarted;
  }
  any_yet_ = any_yet_ || !nested;
  // Work that its first step has left to threads is that of the task, too.
  if (!ticket->answered && !ticket->scope.origin) ticket->scope.origin = levels_.top().scope.origin;
  if (!ticket->answered && ticket->slot != 0) give_slot_back(*ticket);
  return Deferral::kStarted;
}

std::shared_ptr<Ticket> Tasks::make(const Request& request) {
  const Message& message = request.message;
  auto ticket = std::make_shared<Ticket>();
  ticket->tasks = self_;
  ticket->alias = text_of(message.alias);
  ticket->flags = message.flags;
  ticket->slot = message.slot;
  ticket->deadline_ns = request.deadline_ns;
  ticket->caller.assign(message.caller.begin(), message.caller.end());
  ticket->scope = RequestScope{id_, message.env, message.chain, ticket->caller, &waiter_};
  ticket->scope.nesting = services_.callbacks.nesting_of(message.chain);
  ticket->home = request.rest.home;
  ticket->scope.home = &ticket->home;
  ticket->scope.origin = levels_.top().scope.origin;
  ticket->object = make_ticket_object(ticket);
  return ticket;
}

PyRef Tasks::run_as_guest(const Request& request, PyRef value) {
  if (!is_awaitable(value.get())) return value;
  auto tasks = python_half();
  auto timeout = time_left(request);
  if (!tasks || !timeout) return {};
  return PyRef::steal(PyObject_CallMethod(tasks.get(), "run_as_guest", "OO", value.get(), timeout.get()));
}

void Tasks::give_slot_back(Ticket& ticket) {
  TermWriter out;
  begin_notice(out, Notice::kStarted, 1);
  out.list_header(1);
  out.integer(ticket.slot);
  out.nil();
  finish_frame(out);
  ticket.slot = 0;
  services_.writer.send(out.bytes());
}

void Tasks::add(const std::shared_ptr<Ticket>& ticket) {
  tickets_.insert_or_assign(ticket->alias, ticket);
  counters_.tasks.store(tickets_.size(), std::memory_order_relaxed);
  if (ticket->deadline_ns == 0) return;
  deadlines_.insert(ticket->deadline_ns);
  note_deadlines();
}

void Tasks::remove(Ticket& ticket) {
  if (ticket.deadline_ns != 0) {
    if (const auto found = deadlines_.find(ticket.deadline_ns); found != deadlines_.end()) deadlines_.erase(found);
    note_deadlines();
  }
  // A step that was interrupted may have ended before that could be raised: it must not hit the next one.
  {
    auto stack = interrupter_.stack();
    if (stack.ending(ticket).phase() >= Phase::kDelivered && stack->settle()) {
      static_cast<void>(interrupter_.take_pending());
    }
  }
  // What goes with it may come back here.
  const auto home = std::exchange(ticket.home, nullptr);
  const auto origin = std::exchange(ticket.scope.origin, nullptr);
  const PyRef object = std::move(ticket.object);  // it keeps the ticket alive
  tickets_.erase(ticket.alias);
  counters_.tasks.store(tickets_.size(), std::memory_order_relaxed);
}

std::shared_ptr<Ticket> Tasks::find(std::string_view alias) const {
  const auto found = tickets_.find(alias);
  return found == tickets_.end() ? nullptr : found->second;
}

void Tasks::note_deadlines() {
  if (levels_.on_loop()) interrupter_.stack()->set_task_deadline(deadlines_.empty() ? 0 : *deadlines_.begin());
}

// --- Ends.

void Tasks::finish(Ticket& ticket, PyObject* value) {
  if (ticket.answered) return;
  TermWriter out(reply_limits(services_.config));
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  out.version();
  out.tuple_header(2);
  out.atom("ok");
  out.put_large_into(services_.segments);
  if (!encode_term(value, out, encoding_of(ticket.flags, services_.config), interpreter_->types(), services_.atoms)) {
    auto exception = PyRef::steal(PyErr_GetRaisedException());
    return fail(ticket, exception.get());
  }
  if (out.overflowed()) {
    replace_by_too_large(out, payload_start);
    counters_.count_error();
  }
  answer(ticket, out, payload_start);
}

void Tasks::fail(Ticket& ticket, PyObject* exception) {
  if (ticket.answered) return;
  const bool interrupted = PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) != 0;
  Interruption why = Interruption::kNone;
  {
    auto stack = interrupter_.stack();
    Escalation& ending = stack.ending(ticket);
    if (interrupted) ending.fail_for(stack->reason_to_fail());
    why = ending.reason();
  }
  TermWriter out(reply_limits(services_.config));
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  if (why != Interruption::kNone) {
    write_interruption(out, why, counters_);
  } else if (ticket.too_large) {
    write_too_large(out, *ticket.too_large);
  } else {
    PyErr_SetRaisedException(Py_NewRef(exception));
    write_exception(out, interpreter_->types(), (ticket.flags & kTraceback) != 0,
                    interpreter_->mode() == Mode::kOwnGil);
  }
  counters_.count_error();
  answer(ticket, out, payload_start);
}

void Tasks::answer(Ticket& ticket, TermWriter& out, std::size_t payload_start) {
  ticket.answered = true;
  services_.output.flush(id_);
  services_.writer.send_in_pieces(out, payload_start, ticket.alias_bytes());
  remove(ticket);
}

void Tasks::note_told(Ticket& ticket, Interruption why) {
  const std::int64_t now = now_ns();
  auto stack = interrupter_.stack();
  stack.ending(ticket).told(why, now);
  stack->task_told(ticket.alias, now);
}

void Tasks::note_late(Ticket& ticket) {
  note_told(ticket, Interruption::kTimeout);
  const std::int64_t now = now_ns();
  if (ticket.late_ns == 0) ticket.late_ns = now;
  const std::int64_t grace_ns = services_.config.hard_timeout_grace_ms * kNsPerMs;
  if (interrupter_.stack().ending(ticket).stick(ticket.late_ns, grace_ns, now)) {
    interrupter_.announce_stuck(ticket.alias);
  }
}

void Tasks::cancel(const std::string& alias, Interruption why) {
  interrupter_.stack()->cancel_seen(alias);
  const auto ticket = find(alias);
  const std::int64_t now = now_ns();
  if (!ticket || interrupter_.stack().ending(*ticket).told_lately(now)) return;
  note_told(*ticket, why);
  for (std::size_t i = 0; i < levels_.depth(); ++i) {
    if (levels_.at(i).step != ticket) continue;
    // It waits in its step, where asyncio cannot cancel it: it is ended there, after those above it.
    levels_.at(i).step_ends = true;
    auto stack = interrupter_.stack();
    stack->cancel_above(i, now, stack.effects);
    return;
  }
  tell("cancel", ticket);
}

void Tasks::first_step_ended(const std::string& alias, const Ended& ended) {
  if (ended.asked == Interruption::kNone) return;
  if (ended.why == Interruption::kNone || ended.pending) return cancel(alias, ended.asked);
  // It was raised there, and what is left of the task is what its finally blocks wait for.
  if (const auto ticket = find(alias)) interrupter_.stack().ending(*ticket).told(ended.asked, now_ns());
}

void Tasks::tell(const char* what, const std::shared_ptr<Ticket>& ticket) {
  const auto object = ticket->object.copy();  // the one that _tasks knows it by
  auto tasks = python_half();
  const auto done = object && tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), what, "O", object.get())) : PyRef();
  if (!done) PyErr_WriteUnraisable(tasks.get());
}

void Tasks::end_all() {
  {
    auto stack = interrupter_.stack();
    for (const auto& entry : tickets_) {
      Escalation& ending = stack.ending(*entry.second);
      ending = Escalation();
      ending.fail_for(Interruption::kStopped);
    }
  }
  if (any_yet_) {
    auto tasks = python_half();
    const auto closed = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "close", nullptr)) : PyRef();
    if (!closed) PyErr_Clear();
  }
  while (!tickets_.empty()) {
    const std::shared_ptr<Ticket> left = tickets_.begin()->second;
    TermWriter out;
    begin_reply(out, left->alias_bytes(), left->slot);
    const std::size_t payload_start = out.size();
    write_context_died_stopped(out);
    answer(*left, out, payload_start);
  }
  any_yet_ = false;
}

// --- The loop.

bool Tasks::run_loop() {
  note_deadlines();
  auto tasks = python_half();
  remind_late();
  auto ended = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "run", nullptr)) : PyRef();
  // An interrupt that hit the loop itself, between tasks, is over; whatever else ends it is worth a line.
  const bool failed = !ended && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) == 0;
  if (failed) PyErr_WriteUnraisable(tasks.get());
  PyErr_Clear();
  return !failed;
}

void Tasks::stop_loop() {
  auto tasks = python_half();
  const auto stopped = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "stop", nullptr)) : PyRef();
  if (!stopped) PyErr_Clear();
}

/// The interrupt that has ended the loop the last time may have hit what was about to tell them.
void Tasks::remind_late() {
  const std::int64_t now = now_ns();
  std::vector<std::shared_ptr<Ticket>> late;
  for (const auto& entry : tickets_) {
    if (entry.second->deadline_ns != 0 && now >= entry.second->deadline_ns) late.push_back(entry.second);
  }
  for (const auto& ticket : late) tell("expire", ticket);
}

std::uint64_t Tasks::oldest_chain() const {
  std::uint64_t oldest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& entry : tickets_) {
    if (entry.second->scope.chain != 0) oldest = std::min(oldest, entry.second->scope.chain);
  }
  return oldest;
}

std::shared_ptr<Ticket> Tasks::step_of_top() const {
  auto own = find(interrupter_.entries().alias(levels_.depth() - 1));
  return own ? own : running_step(interpreter_->thread_state()->context);
}

std::shared_ptr<Origin> Tasks::origin_of_top(const Ticket* step) const {
  if (levels_.empty()) return nullptr;
  const RequestScope& scope = levels_.top().scope;
  if (!scope.varies) return scope.origin;
  return step != nullptr ? step->scope.origin : nullptr;
}

std::shared_ptr<Ticket> Tasks::running_step(PyObject* variables) const {
  return ticket_in(interpreter_->erlang_module(), variables);
}

}  // namespace erlang_python
