// The part of Context that runs one request and writes its reply.

#include "callback/request_scope.h"
#include "context/context.h"
#include "etf/encode.h"
#include "python/erlang_module.h"
#include "python/exception.h"

namespace erlang_python {
namespace {

constexpr std::size_t kKeptReplyBytes = 256 * 1024;

/// Goes on with what a function has left for later.
PyRef resume(PyRef work) { return PyRef::steal(PyObject_CallMethod(work.get(), "resume", nullptr)); }

}  // namespace

PyRef Context::run_python(const Request& request, Rest& rest, Calling& calling) {
  const Message& message = request.message;
  const bool call = message.operation == Operation::kCall;
  // Held: the code may outlive the env's process, and with it the env, while it runs.
  auto own = PyRef();
  auto shared = PyRef::borrow(envs_->shared());
  if (!rest.work) {
    own = PyRef::borrow(call ? envs_->find(message.env) : envs_->get(message.env));
    if (!call && !own) return {};
    counters_.envs.store(envs_->size(), std::memory_order_relaxed);
    rest.shown_as_main = own ? own.copy() : shared.copy();
  }
  const ThreadNamespace shown_as_main(rest.shown_as_main.get());
  PyRef value;
  if (rest.work) {
    value = resume(std::move(rest.work));
  } else {
    TermReader body(request.frame.bytes());
    body.rewind(message.body);
    value = call                                    ? calling.call(body, {own.get(), shared.get()})
            : message.operation == Operation::kEval ? calling.eval(body, own.get())
                                                    : calling.exec(body, own.get());
  }
  const PyObject* const scheduled = calling.types().scheduled.get();
  while (value && reinterpret_cast<PyObject*>(Py_TYPE(value.get())) == scheduled) {
    if (gives_way(value.get(), calling)) {
      rest.work = std::move(value);
      return {};
    }
    value = resume(std::move(value));
  }
  return value;
}

bool Context::gives_way(PyObject* work, const Calling& calling) const {
  // A guest is on somebody else's thread. On top of a level that waits nobody has a turn but its chain.
  const bool lowest = &calling == calling_.get() && is_lowest() && levels_.front()->awaited == 0;
  if (!lowest || (!loop_runs_ && mailbox_.empty())) return false;
  auto yields = PyRef::steal(PyObject_GetAttrString(work, "yields"));
  if (!yields) PyErr_Clear();
  return yields.get() == Py_True;
}

Context::Written Context::write_value(const Request& request, Rest& rest, Calling& calling, TermWriter& out) {
  if (!rest.work) counters_.calls.fetch_add(1, std::memory_order_relaxed);
  const std::size_t payload_start = out.size();
  const EncodeOptions options{(request.message.flags & kStrict) != 0, (request.message.flags & kBuffer) != 0};
  PyRef value = run_python(request, rest, calling);
  if (rest.work) return {false, false, 0};
  rest = {};
  bool encoded = false;
  Deferral deferral = Deferral::kNone;
  if (value && (request.message.flags & (kTask | kStream)) != 0) {
    if (&calling == calling_.get()) {
      deferral = defer(request, value.get());
    } else {
      value = run_as_guest(request, std::move(value));
    }
  }
  if (deferral != Deferral::kNone) {
    value = PyRef();
    if (deferral == Deferral::kStarted) return {false, true, 0};
  }
  if (value) {
    if (request.message.operation == Operation::kExec) {
      write_ok(out);
      encoded = true;
    } else {
      out.version();
      out.tuple_header(2);
      out.atom("ok");
      encoded = encode_term(value.get(), out, options, calling.types(), services_.atoms);
    }
    value = PyRef();  // its destructor may run Python code, which still belongs to this request
  }
  const std::size_t wanted = out.wanted_bytes();
  if (!encoded) {
    out.truncate(payload_start);
    write_exception(out, calling.types(), (request.message.flags & kTraceback) != 0, mode_ == Mode::kOwnGil);
  }
  services_.output.flush(id_);
  return {encoded, false, encoded ? wanted : out.wanted_bytes()};
}

bool Context::write_result(Request& request, TermWriter& out, std::size_t payload_start) {
  const Written written = write_value(request, request.rest, *calling_, out);
  request.rest.chain = levels_[depth_ - 1]->scope.chain;
  const Ended ended = end();
  const bool goes_on = static_cast<bool>(request.rest.work);
  if (goes_on && ended.asked == Interruption::kNone) {
    static_cast<void>(mailbox_.push(std::move(request)));
    return false;
  }
  if (written.deferred) {
    note_first_step(text_of(request.message.alias), ended);
    return false;
  }
  const auto why = goes_on ? ended.asked : ended.why;
  // An interrupted request that failed did so because of it, whatever exception it has made of it.
  const bool interrupted = why != Interruption::kNone && (ended.pending || !written.value);
  if (written.value && !interrupted && !out.overflowed()) return true;
  counters_.errors.fetch_add(1, std::memory_order_relaxed);
  if (interrupted) {
    out.truncate(payload_start);
    write_interruption(out, why);
  } else if (out.overflowed()) {
    out.truncate(payload_start);
    write_too_large(out, written.bytes - payload_start, services_.config.max_value_bytes);
  }
  return true;
}

void Context::write_interruption(TermWriter& out, Interruption why) {
  if (why == Interruption::kStopped) return write_context_died_stopped(out);
  if (why == Interruption::kTimeout) counters_.timeouts.fetch_add(1, std::memory_order_relaxed);
  write_error(out, why == Interruption::kTimeout     ? "timeout"
                   : why == Interruption::kCancelled ? "cancelled"
                                                     : "interrupted");
}

void Context::serve_guest(const Request& request) {
  const Message& message = request.message;
  TermWriter out(max_reply_bytes(services_.config));
  begin_reply(out, message.alias, message.slot);
  const std::size_t payload_start = out.size();
  if (!envs_ || !calling_) {
    write_context_died_stopped(out);
  } else {
    // Caches of its own: those of the context belong to its thread.
    Calling calling(calling_->types());
    Rest rest;
    const Written written = write_value(request, rest, calling, out);
    if (!written.value || out.overflowed()) counters_.errors.fetch_add(1, std::memory_order_relaxed);
    if (out.overflowed()) {
      out.truncate(payload_start);
      write_too_large(out, written.bytes - payload_start, services_.config.max_value_bytes);
    }
  }
  services_.writer.send_in_pieces(out, payload_start, message.alias);
}

void Context::refuse_nesting(const Request& request) {
  TermWriter out;
  begin_reply(out, request.message.alias, request.message.slot);
  out.version();
  out.tuple_header(3);
  out.atom("exception");
  out.binary("RecursionError");
  out.binary("callbacks are nested more than " + std::to_string(kMaxLevels) + " levels deep");
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Context::send_reply(TermWriter& out, std::size_t payload_start, Bytes alias) {
  services_.writer.send_in_pieces(out, payload_start, alias);
  out.shrink(kKeptReplyBytes);
}

}  // namespace erlang_python
