// The part of Context for requests that go on on its event loop: coroutines and streams.

#include "base/clock.h"
#include "context/context.h"
#include "context/ticket_type.h"
#include "etf/encode.h"
#include "python/erlang_module.h"
#include "python/exception.h"

namespace erlang_python {
namespace {

// How long a stream of a synchronous generator keeps the loop before others have their turn.
constexpr std::int64_t kPumpNs = kNsPerMs;

bool is_awaitable(PyObject* value) {
  if (PyCoro_CheckExact(value) != 0) return true;
  const PyAsyncMethods* methods = Py_TYPE(value)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

}  // namespace

Context::Deferral Context::defer(const Request& request, PyObject* value) {
  const Message& message = request.message;
  const bool stream = (message.flags & kStream) != 0;
  if (!stream && ((message.flags & kTask) == 0 || !is_awaitable(value))) return Deferral::kNone;
  auto ticket = std::make_shared<Ticket>();
  ticket->context = weak_from_this();
  ticket->alias.assign(reinterpret_cast<const char*>(message.alias.data()), message.alias.size());
  ticket->flags = message.flags;
  ticket->slot = message.slot;
  ticket->deadline_ns = request.deadline_ns;
  ticket->caller.assign(message.caller.begin(), message.caller.end());
  ticket->scope = RequestScope{id_, message.env, message.chain, ticket->caller, this};
  ticket->shown_as_main = PyRef::borrow(envs_->find(message.env));
  if (!ticket->shown_as_main) ticket->shown_as_main = PyRef::borrow(envs_->shared());
  ticket->object = make_ticket_object(ticket);
  const auto object = ticket->object.copy();
  auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
  if (!object || !tasks) return Deferral::kFailed;
  add_ticket(ticket);
  // On top of a level that waits there can be no loop but one of its own.
  const bool nested = depth_ > (loop_runs_ ? 2U : 1U) || levels_.front()->awaited != 0;
  const double left = static_cast<double>(request.deadline_ns - now_ns()) / 1e9;
  auto timeout = request.deadline_ns == 0 ? PyRef::borrow(Py_None) : PyRef::steal(PyFloat_FromDouble(left));
  if (nested) begin_own_loop(request.deadline_ns);
  auto started =
      timeout
          ? PyRef::steal(PyObject_CallMethod(tasks.get(), "start", "OOOOO", object.get(), value,
                                             stream ? Py_True : Py_False, timeout.get(), nested ? Py_True : Py_False))
          : PyRef();
  if (!started) {
    remove_ticket(*ticket);
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
  looping_ = looping_ || !nested;
  if (!ticket->answered && ticket->slot != 0) give_slot_back(*ticket);
  return Deferral::kStarted;
}

/// As the context's loop does it: what ends its task comes from the loop, which can be interrupted nowhere without
/// harm, and an interrupt only when a step holds that up.
void Context::begin_own_loop(std::int64_t deadline_ns) {
  const std::scoped_lock lock(current_mu_);
  Level& level = *levels_[depth_ - 1];
  level.has_loop = true;
  if (deadline_ns != 0) level.deadline_ns = deadline_ns + kLoopMayBeLateNs;
}

void Context::note_told(Ticket& ticket, Interruption why) {
  if (ticket.why == Interruption::kNone) ticket.why = why;
  ticket.told_ns = now_ns();
  const std::scoped_lock lock(current_mu_);
  for (std::size_t i = 0; i < depth_; ++i) {
    Level& level = *levels_[i];
    if (!level.has_loop || level.alias != ticket.alias || level.deadline_ns == 0) continue;
    level.deadline_ns = std::max(level.deadline_ns, ticket.told_ns + kInterruptAgainNs);
  }
}

void Context::note_late(Ticket& ticket) {
  note_told(ticket, Interruption::kTimeout);
  if (ticket.late_ns == 0) ticket.late_ns = ticket.told_ns;
  const std::int64_t grace_ns = services_.config.hard_timeout_grace_ms * kNsPerMs;
  if (grace_ns == 0 || ticket.stuck_reported || ticket.told_ns - ticket.late_ns < grace_ns) return;
  ticket.stuck_reported = true;
  report_stuck(ticket.alias);
}

PyRef Context::run_as_guest(const Request& request, PyRef value) {
  if (!is_awaitable(value.get())) return value;
  auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
  const double left = static_cast<double>(request.deadline_ns - now_ns()) / 1e9;
  auto timeout = request.deadline_ns == 0 ? PyRef::borrow(Py_None) : PyRef::steal(PyFloat_FromDouble(left));
  if (!tasks || !timeout) return {};
  return PyRef::steal(PyObject_CallMethod(tasks.get(), "run_as_guest", "OO", value.get(), timeout.get()));
}

void Context::give_slot_back(Ticket& ticket) {
  TermWriter out;
  begin_notice(out, Notice::kStarted, 1);
  out.list_header(1);
  out.integer(ticket.slot);
  out.nil();
  finish_frame(out);
  ticket.slot = 0;
  services_.writer.send(out.bytes());
}

void Context::add_ticket(const std::shared_ptr<Ticket>& ticket) {
  tickets_.insert_or_assign(ticket->alias, ticket);
  counters_.tasks.store(tickets_.size(), std::memory_order_relaxed);
  if (ticket->deadline_ns == 0) return;
  task_deadlines_.insert(ticket->deadline_ns);
  watch_task_deadlines();
}

void Context::remove_ticket(Ticket& ticket) {
  if (ticket.deadline_ns != 0) {
    if (const auto found = task_deadlines_.find(ticket.deadline_ns); found != task_deadlines_.end()) {
      task_deadlines_.erase(found);
    }
    watch_task_deadlines();
  }
  settle_interrupt(ticket);
  ticket.shown_as_main = PyRef();
  const PyRef object = std::move(ticket.object);  // it keeps the ticket alive
  tickets_.erase(ticket.alias);
  counters_.tasks.store(tickets_.size(), std::memory_order_relaxed);
}

void Context::watch_task_deadlines() {
  if (!loop_runs_) return;
  const std::scoped_lock lock(current_mu_);
  Level& loop = *levels_.front();
  loop.is_loop = true;
  const std::int64_t before = loop.deadline_ns;
  if (loop.interruption == Interruption::kStopped) return;  // it is late whatever its tasks are
  loop.deadline_ns = task_deadlines_.empty() ? 0 : *task_deadlines_.begin() + kLoopMayBeLateNs;
  if (loop.deadline_ns == before || loop.interruption != Interruption::kTimeout) return;
  // The task that was late has ended; the loop itself goes on.
  loop.interruption = Interruption::kNone;
  loop.wanted = false;
  loop.stuck_reported = false;
}

/// A step that was interrupted may have ended before that could be raised: it must not hit the next one.
void Context::settle_interrupt(const Ticket& ticket) {
  if (!ticket.interrupted || !loop_runs_ || depth_ != 1) return;
  const std::scoped_lock lock(current_mu_);
  Level& loop = *levels_.front();
  if (loop.interruption == Interruption::kStopped || !loop.delivered) return;
  loop.interruption = Interruption::kNone;
  loop.wanted = false;
  loop.delivered = false;
  PyThreadState_SetAsyncExc(thread_ident_, nullptr);
}

void Context::finish_ticket(Ticket& ticket, PyObject* value) {
  if (ticket.answered) return;
  TermWriter out(max_reply_bytes(services_.config));
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  out.version();
  out.tuple_header(2);
  out.atom("ok");
  const EncodeOptions options{(ticket.flags & kStrict) != 0, (ticket.flags & kBuffer) != 0};
  if (!encode_term(value, out, options, interpreter_->types(), services_.atoms)) {
    auto exception = PyRef::steal(PyErr_GetRaisedException());
    return fail_ticket(ticket, exception.get());
  }
  if (out.overflowed()) {
    const std::size_t bytes = out.wanted_bytes() - payload_start;
    out.truncate(payload_start);
    write_too_large(out, bytes, services_.config.max_value_bytes);
    counters_.errors.fetch_add(1, std::memory_order_relaxed);
  }
  answer_ticket(ticket, out, payload_start);
}

void Context::fail_ticket(Ticket& ticket, PyObject* exception) {
  if (ticket.answered) return;
  if (ticket.why == Interruption::kNone && PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) != 0) {
    const std::scoped_lock lock(current_mu_);
    for (std::size_t i = 0; i < depth_; ++i) {
      // That the loop is held up is no matter of this one: it would have been told.
      const Interruption why = levels_[i]->interruption;
      if (why != Interruption::kNone && (!is_loop(i) || why == Interruption::kStopped)) ticket.why = why;
    }
  }
  TermWriter out(max_reply_bytes(services_.config));
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  if (ticket.why != Interruption::kNone) {
    write_interruption(out, ticket.why);
  } else if (ticket.too_large_bytes != 0) {
    write_too_large(out, ticket.too_large_bytes, services_.config.max_value_bytes);
  } else {
    PyErr_SetRaisedException(Py_NewRef(exception));
    write_exception(out, interpreter_->types(), (ticket.flags & kTraceback) != 0, mode_ == Mode::kOwnGil);
  }
  counters_.errors.fetch_add(1, std::memory_order_relaxed);
  answer_ticket(ticket, out, payload_start);
}

void Context::end_stream(Ticket& ticket) {
  if (ticket.answered) return;
  TermWriter out;
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  write_ok(out);
  answer_ticket(ticket, out, payload_start);
}

void Context::answer_ticket(Ticket& ticket, TermWriter& out, std::size_t payload_start) {
  ticket.answered = true;
  services_.output.flush(id_);
  services_.writer.send_in_pieces(out, payload_start, ticket.alias_bytes());
  remove_ticket(ticket);
}

bool Context::send_item(Ticket& ticket, PyObject* value) {
  TermWriter out(max_reply_bytes(services_.config));
  const EncodeOptions options{(ticket.flags & kStrict) != 0, (ticket.flags & kBuffer) != 0};
  if (!encode_term(value, out, options, interpreter_->types(), services_.atoms)) return false;
  return send_encoded(ticket, out);
}

bool Context::send_encoded(Ticket& ticket, TermWriter& out) {
  if (out.overflowed()) {
    ticket.too_large_bytes = out.wanted_bytes();
    PyErr_SetString(PyExc_ValueError, "the item is too large");  // for what the generator does at its end
    return false;
  }
  services_.writer.send_item(ticket.alias_bytes(), out.bytes());
  --ticket.credit.items;
  ticket.credit.bytes -= static_cast<std::int64_t>(out.size());
  if (!ticket.has_credit()) services_.writer.flush_batches();  // Erlang gives more for what it has got
  return true;
}

/// The first turn of a stream runs above its request, which is interrupted with it: a second time would hit what the
/// generator does in its finally block.
void Context::spare_first_step(const Ticket& ticket) {
  const std::scoped_lock lock(current_mu_);
  if (depth_ == 0 || levels_[depth_ - 1]->alias != ticket.alias) return;
  Level& request = *levels_[depth_ - 1];
  request.wanted = false;
  request.interruption = ticket.why;
  request.interrupted_ns = ticket.told_ns;
}

std::optional<Context::Pumped> Context::pump(Ticket& ticket, PyObject* iterator) {
  // A level of its own, so that the stream can be cancelled and is late by itself.
  Level& level = begin(ticket.alias_bytes(), ticket.deadline_ns);
  level.scope = ticket.scope;
  TermWriter out(max_reply_bytes(services_.config));
  const EncodeOptions options{(ticket.flags & kStrict) != 0, (ticket.flags & kBuffer) != 0};
  std::optional<Pumped> pumped;
  {
    const ThreadNamespace shown(ticket.shown_as_main.get());
    const std::int64_t until = now_ns() + kPumpNs;
    while (!pumped) {
      if (!ticket.has_credit()) {
        pumped = Pumped::kNoCredit;
        break;
      }
      auto item = PyRef::steal(PyIter_Next(iterator));
      if (!item) {
        if (PyErr_Occurred() == nullptr) pumped = Pumped::kEnded;
        break;
      }
      out.clear();
      if (!encode_term(item.get(), out, options, interpreter_->types(), services_.atoms)) break;
      if (!send_encoded(ticket, out)) break;
      if (now_ns() >= until) pumped = Pumped::kMore;
    }
  }
  ticket.scope.chain = level.scope.chain;
  const Interruption why = end().asked;
  if (why == Interruption::kNone || pumped == Pumped::kEnded) return pumped;
  ticket.why = why;
  ticket.told_ns = now_ns();
  spare_first_step(ticket);
  if (pumped) PyErr_SetNone(PyExc_KeyboardInterrupt);
  return std::nullopt;
}

void Context::take_credit(const Request& request) {
  TermReader body(request.frame.bytes());
  body.rewind(request.message.body);
  const auto items = body.read_int64();
  const auto bytes = items ? body.read_int64() : std::nullopt;
  if (!bytes || *items < 0 || *bytes < 0) return;
  const auto found = tickets_.find(text_of(request.message.alias));
  if (found == tickets_.end()) return;
  const std::shared_ptr<Ticket> ticket = found->second;
  ticket->credit.add({*items, *bytes});
  if (!ticket->waits_for_credit || !ticket->has_credit()) return;
  ticket->waits_for_credit = false;
  tell_task("credited", ticket);
}

void Context::cancel_ticket(const std::string& alias, Interruption why) {
  {
    const std::scoped_lock lock(current_mu_);
    for (std::size_t i = 0; i < depth_; ++i) {
      if (is_loop(i) || levels_[i]->alias == alias) levels_[i]->cancel_ns = 0;
    }
  }
  const auto found = tickets_.find(alias);
  if (found == tickets_.end()) return;
  const std::shared_ptr<Ticket> ticket = found->second;
  const std::int64_t now = now_ns();
  if (ticket->told_ns != 0 && now - ticket->told_ns < kInterruptAgainNs) return;
  note_told(*ticket, why);
  for (std::size_t i = 0; i < depth_; ++i) {
    if (levels_[i]->step != ticket) continue;
    // It waits in its step, where asyncio cannot cancel it: it is ended there, after those above it.
    levels_[i]->step_ends = true;
    const std::scoped_lock lock(current_mu_);
    if (depth_ > i + 1 && !levels_[i + 1]->apart) cancel_from(i + 1, now);
    return;
  }
  tell_task("cancel", ticket);
}

/// The first step of a task has ended, which is a request like others.
void Context::note_first_step(const std::string& alias, const Ended& ended) {
  if (ended.asked == Interruption::kNone) return;
  if (ended.why == Interruption::kNone || ended.pending) return cancel_ticket(alias, ended.asked);
  // It was raised there, and what is left of the task is what its finally blocks wait for.
  const auto found = tickets_.find(alias);
  if (found == tickets_.end()) return;
  if (found->second->why == Interruption::kNone) found->second->why = ended.asked;
  found->second->told_ns = now_ns();
}

void Context::tell_task(const char* what, const std::shared_ptr<Ticket>& ticket) {
  const auto object = ticket->object.copy();  // the one that _tasks knows it by
  auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
  const auto done = object && tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), what, "O", object.get())) : PyRef();
  if (!done) PyErr_WriteUnraisable(tasks.get());
}

void Context::end_tasks() {
  for (const auto& entry : tickets_) entry.second->why = Interruption::kStopped;
  if (looping_) {
    auto tasks = PyRef::steal(PyImport_ImportModule("erlang._tasks"));
    const auto closed = tasks ? PyRef::steal(PyObject_CallMethod(tasks.get(), "close", nullptr)) : PyRef();
    if (!closed) PyErr_Clear();
  }
  while (!tickets_.empty()) {
    const std::shared_ptr<Ticket> left = tickets_.begin()->second;
    TermWriter out;
    begin_reply(out, left->alias_bytes(), left->slot);
    const std::size_t payload_start = out.size();
    write_context_died_stopped(out);
    answer_ticket(*left, out, payload_start);
  }
  looping_ = false;
}

}  // namespace erlang_python
