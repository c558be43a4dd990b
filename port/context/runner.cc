#include "context/runner.h"

#include <algorithm>

#include "base/clock.h"
#include "callback/erlang_module.h"
#include "context/answers.h"
#include "conversion/encode.h"
#include "interpreter/exception.h"
#include "interpreter/health.h"
#include "python/variables.h"
#include "segments/segments.h"

namespace erlang_python {
namespace {

constexpr std::size_t kKeptReplyBytes = 256 * 1024;

// From its begin: what a CHECK has waited for before, in the mailbox, is no fault of the context.
constexpr std::int64_t kCheckNs = 2'000 * kNsPerMs;

/// As they are in the frame of a CALL: the terms of its module and its function.
Bytes names_of(const Request& request) {
  TermReader body(request.frame.bytes());
  body.rewind(request.message.body);
  const auto begin = body.position();
  static_cast<void>(body.read_name());
  static_cast<void>(body.read_name());
  return request.frame.bytes().subspan(begin, body.position() - begin);
}

/// Goes on with what a function has left for later.
PyRef resume(PyRef work) { return PyRef::steal(PyObject_CallMethod(work.get(), "resume", nullptr)); }

/// What nobody has asked for, so an interrupt from Erlang is not for it.
RequestStack::Begin nobodys(std::int64_t time_ns, bool apart) { return {{}, now_ns() + time_ns, 0, apart}; }

}  // namespace

bool Runner::open(const Interpreter& interpreter, const std::vector<std::string>& preload, Bytes alias,
                  TermWriter& reply) {
  interpreter_ = &interpreter;
  const std::size_t payload_start = reply.size();
  Running running(levels_, {view_of(alias)});
  const bool ready = prepare(preload, reply);
  if (running.end().why != Interruption::kNone && !ready) {
    reply.truncate(payload_start);
    write_context_died_stopped(reply);
  }
  return ready;
}

bool Runner::prepare(const std::vector<std::string>& preload, TermWriter& reply) {
  calling_ = std::make_unique<Calling>(interpreter_->types());
  envs_ = std::make_shared<Envs>();
  bool ready = envs_->open();
  const auto shared = envs_->shared();
  const EnteredVariables variables(PyRef::borrow(ready ? shared->variables() : nullptr));
  levels_.top().scope.home = &envs_->shared();
  ready = ready && prepare_interpreter(services_.config, services_.sandbox);
  for (const std::string& code : services_.config.preload) {
    ready = ready && calling_->run(code, "pool preload", shared->globals());
  }
  for (const std::string& code : preload) ready = ready && calling_->run(code, "context preload", shared->globals());
  // A preload may set streams for all, too.
  ready = ready && envs_->keep_preload() && erlang_module_state(interpreter_->erlang_module()).streams.keep();
  services_.output.flush(id_);
  if (!ready) {
    write_exception(reply, interpreter_->types(), true, interpreter_->mode() == Mode::kOwnGil);
    return false;
  }
  reply.version();
  reply.tuple_header(2);
  reply.atom("ok");
  reply.integer(interpreter_->id());
  return true;
}

void Runner::close() {
  calling_.reset();
  envs_.reset();
}

void Runner::run(Request& request, bool apart) {
  const Message& message = request.message;
  if (levels_.depth() >= kMaxLevels) return refuse_nesting(services_.writer, request, kMaxLevels);
  const std::uint64_t chain = request.rest.work ? request.rest.chain : message.chain;
  Running running(levels_, {view_of(message.alias), request.deadline_ns, chain, apart}, &message);
  Level& level = running.level();
  begin_reply(level.reply, message.alias, message.slot);
  const std::size_t payload_start = level.reply.size();
  // In the clearing up of the context a finalizer may wait for Erlang, which asks for something meanwhile.
  const std::shared_ptr<Envs> envs = envs_;
  if (!envs || !calling_) {
    request.rest = {};
    static_cast<void>(running.end());
    write_context_died_stopped(level.reply);
    return send_reply(level.reply, payload_start, message.alias);
  }
  if (take_cancel(message.alias)) {
    request.rest = {};
    static_cast<void>(running.end());
    write_interruption(level.reply, Interruption::kCancelled, counters_);
    return send_reply(level.reply, payload_start, message.alias);
  }
  find_home(message, request.rest, *envs);
  level.scope.home = &request.rest.home;
  level.scope.origin = std::move(request.rest.origin);
  {
    const EnteredVariables variables(variables_of(message, request.rest, levels_.scope_below(), *envs));
    bool now = false;
    {
      const StandardStreams::Use streams(erlang_module_state(interpreter_->erlang_module()).streams);
      now = write_result(request, running, payload_start);
    }
    // Nobody need wait for the end of the variables, which are this thread's: others share the streams.
    if (now) send_reply(level.reply, payload_start, message.alias, is_followed_by_the_same(request));
  }
  if (request.rest.work) forget(request.rest, apart);
  if (levels_.empty() || levels_.only_loop()) collect_leftovers(apart);
}

void Runner::collect_leftovers(bool apart) {
  if (!envs_ || !envs_->leftovers().wants_look()) return;
  const Running running(levels_, nobodys(kClearUpNs, apart));
  envs_->leftovers().collect_if_due();
}

void Runner::find_home(const Message& message, Rest& rest, Envs& envs) {
  if (rest.work) return;
  rest.home = envs.get(message.env);
  if (!rest.home) PyErr_Clear();  // out of memory, as run_python() says
  counters_.envs.store(envs.size(), std::memory_order_relaxed);
}

PyRef Runner::variables_of(const Message& message, Rest& rest, const RequestScope* below, const Envs& envs) {
  const bool none = message.env == kNoEnv && message.operation == Operation::kCall;
  // As a function that the request below has called.
  if (below != nullptr && below->chain == message.chain && (none || message.env == below->env)) return {};
  if (!none) return PyRef::borrow(rest.home ? rest.home->variables() : nullptr);
  if (!rest.variables) rest.variables = envs.first_variables();
  if (!rest.variables) PyErr_Clear();
  return rest.variables.copy();
}

bool Runner::take_cancel(Bytes alias) {
  if (!mailbox_.has_cancels()) return false;
  return !mailbox_
              .remove_if([alias](const Request& other) {
                return other.message.operation == Operation::kCancel && std::ranges::equal(other.message.alias, alias);
              })
              .empty();
}

bool Runner::write_result(Request& request, Running& running, std::size_t payload_start) {
  TermWriter& out = running.level().reply;
  const Written written = write_value(request, request.rest, {*calling_, *envs_, interpreter_->mode(), false}, out);
  request.rest.chain = running.level().scope.chain;
  if (request.rest.work) request.rest.origin = running.level().scope.origin;
  const Ended ended = running.end();
  const bool goes_on = static_cast<bool>(request.rest.work);
  if (goes_on && ended.asked == Interruption::kNone) {
    static_cast<void>(mailbox_.push(std::move(request)));
    return false;
  }
  if (written.deferred) {
    tasks_.first_step_ended(text_of(request.message.alias), ended);
    return false;
  }
  const auto why = goes_on ? ended.asked : ended.why;
  // An interrupted request that failed did so because of it, whatever exception it has made of it.
  const bool interrupted = why != Interruption::kNone && (ended.pending || !written.value);
  if (written.value && !interrupted && !out.overflowed()) return true;
  counters_.count_error();
  if (interrupted) {
    out.truncate(payload_start);
    write_interruption(out, why, counters_);
  } else if (out.overflowed()) {
    replace_by_too_large(out, payload_start);
  }
  return true;
}

Runner::Written Runner::write_value(const Request& request, Rest& rest, const Host& host, TermWriter& out) {
  if (!rest.work) counters_.calls.fetch_add(1, std::memory_order_relaxed);
  PyRef value = run_python(request, rest, host);
  if (rest.work) return {false, false};
  const Written written = write_outcome(request, std::move(value), host, out);
  rest = {};
  return written;
}

Runner::Written Runner::write_outcome(const Request& request, PyRef value, const Host& host, TermWriter& out) {
  const std::size_t payload_start = out.size();
  if (value && (request.message.flags & (kTask | kStream)) != 0) {
    if (host.guest) {
      value = Tasks::run_as_guest(request, std::move(value));
    } else {
      const auto deferral = tasks_.defer(request, value.get());
      if (deferral != Tasks::Deferral::kNone) value = PyRef();
      if (deferral == Tasks::Deferral::kStarted) return {false, true};
    }
  }
  const bool encoded = value && write_ok_value(request, std::move(value), host, out);
  if (!encoded) {
    out.truncate(payload_start);
    write_exception(out, host.calling.types(), (request.message.flags & kTraceback) != 0, host.mode == Mode::kOwnGil);
  }
  services_.output.flush(id_);
  return {encoded, false};
}

/// False with a Python error set. The destructor of the value may run Python code, which still belongs to the request.
bool Runner::write_ok_value(const Request& request, PyRef value, const Host& host, TermWriter& out) {
  if (request.message.operation == Operation::kExec) {
    write_ok(out);
    return true;
  }
  out.version();
  out.tuple_header(2);
  out.atom("ok");
  out.put_large_into(services_.segments);
  return encode_term(value.get(), out, encoding_of(request.message.flags, services_.config), host.calling.types(),
                     services_.atoms);
}

PyRef Runner::run_python(const Request& request, Rest& rest, const Host& host) {
  if (!rest.home) {
    PyErr_NoMemory();
    return {};
  }
  PyObject* const globals = rest.home->globals();
  PyRef value;
  if (rest.work) {
    value = resume(std::move(rest.work));
  } else {
    TermReader body(request.frame.bytes(), request.frame.segments());
    body.rewind(request.message.body);
    const Operation operation = request.message.operation;
    value = operation == Operation::kCall   ? host.calling.call(body, {globals, host.envs.shared()->globals()})
            : operation == Operation::kEval ? host.calling.eval(body, globals)
                                            : host.calling.exec(body, globals);
  }
  while (value && host.calling.types().is_scheduled(value.get())) {
    if (gives_way(value.get(), host)) {
      rest.work = std::move(value);
      return {};
    }
    value = resume(std::move(value));
  }
  return value;
}

bool Runner::gives_way(PyObject* work, const Host& host) const {
  // A guest is on somebody else's thread. On top of a level that waits nobody has a turn but its chain.
  if (host.guest || levels_.top_is_nested() || (!levels_.on_loop() && mailbox_.empty())) return false;
  auto yields = PyRef::steal(PyObject_GetAttrString(work, "yields"));
  if (!yields) PyErr_Clear();
  return yields.get() == Py_True;
}

void Runner::run_guest(const Request& request, const RequestScope* below) {
  const Message& message = request.message;
  TermWriter out(reply_limits(services_.config));
  begin_reply(out, message.alias, message.slot);
  const std::size_t payload_start = out.size();
  const std::shared_ptr<Envs> envs = envs_;
  if (!envs) {
    write_context_died_stopped(out);
  } else {
    // The context may be gone, with its interpreter's place, before the request has ended. Caches of its own: those of
    // the context belong to its thread.
    const auto types = interpreter_->shared_types();
    const Mode mode = interpreter_->mode();
    Calling calling(*types);
    Rest rest;
    find_home(message, rest, *envs);
    current_scope()->home = &rest.home;
    const EnteredVariables variables(variables_of(message, rest, below, *envs));
    const Written written = write_value(request, rest, {calling, *envs, mode, true}, out);
    if (!written.value || out.overflowed()) counters_.count_error();
    if (out.overflowed()) replace_by_too_large(out, payload_start);
  }
  services_.writer.send_in_pieces(out, payload_start, message.alias);
}

void Runner::forget(Rest& rest, bool apart) {
  const Running running(levels_, nobodys(kClearUpNs, apart));
  rest = {};
}

void Runner::drop_env(std::uint64_t env, bool apart) {
  if (!envs_) return;
  {
    const Running running(levels_, nobodys(kClearUpNs, apart));
    envs_->drop(env);
  }
  counters_.envs.store(envs_->size(), std::memory_order_relaxed);
}

void Runner::check(const Request& request, bool loop_is_broken, bool apart) {
  Running running(levels_, nobodys(kCheckNs, apart));
  std::string trouble = find_trouble(interpreter_->health_check(), interpreter_->types(), services_.atoms);
  if (trouble.empty() && loop_is_broken) trouble = "the event loop ends whenever it is started";
  services_.output.flush(id_);
  const Ended ended = running.end();
  TermWriter out;
  begin_reply(out, request.message.alias, 0);
  if (ended.asked == Interruption::kStopped) {
    write_context_died_stopped(out);
  } else if (ended.asked != Interruption::kNone) {
    write_error(out, "timeout");
  } else if (trouble.empty()) {
    write_ok_atom(out, "ok");
  } else {
    write_unhealthy(out, trouble);
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

/// Then its reply may wait for the next one, if the writer likes. Not for one that might do anything, such as to end
/// the process, but for what has just been quick.
bool Runner::is_followed_by_the_same(const Request& request) const {
  if (request.message.operation != Operation::kCall || !services_.writer.joins_replies()) return false;
  const Bytes names = names_of(request);
  return mailbox_.next_is([names](const Request& next) {
    return next.message.operation == Operation::kCall && std::ranges::equal(names_of(next), names);
  });
}

void Runner::send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, bool more) {
  services_.writer.send_reply(out, payload_start, alias, more);
  // Should the one that was to follow be taken back, or take long, a tick sends it.
  if (more && services_.writer.has_batches()) services_.ticker.ensure_armed();
  out.shrink(kKeptReplyBytes);
}

}  // namespace erlang_python
