#include "context/context.h"

#include "base/clock.h"
#include "etf/encode.h"
#include "python/erlang_module.h"
#include "python/exception.h"
#include "python/own_variables.h"
#include "runtime/port_loop.h"

namespace erlang_python {
namespace {

// How long finalizers may take when a namespace or a context goes; then they are interrupted like a late request.
constexpr std::int64_t kClearUpNs = 5'000 * kNsPerMs;

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

}  // namespace

Context::Context(ContextId id, Mode mode, std::vector<std::string> preload, Services& services)
    : id_(id), mode_(mode), preload_(std::move(preload)), services_(services) {}

bool Context::run(Interpreter& interpreter, Bytes start_alias) {
  interpreter_ = &interpreter;
  {
    const std::scoped_lock lock(current_mu_);
    interpreter_state_ = interpreter.state();
    thread_state_ = interpreter.thread_state();
    thread_ident_ = interpreter.thread_ident();
    wake_slot_ = &WakeSlot::of_this_thread();
  }
  set_thread_companion(this);
  enter_python();
  TermWriter& reply = begin(start_alias, 0).reply;
  begin_reply(reply, start_alias, 0);
  const std::size_t payload_start = reply.size();
  const bool ready = prepare(reply);
  if (end().why != Interruption::kNone && !ready) {
    reply.truncate(payload_start);
    write_context_died_stopped(reply);
  }
  leave_python();
  send_reply(reply, payload_start, start_alias);
  if (ready) serve();

  answer_stopped(mailbox_.remove_if([](const Request&) { return true; }));
  give_up_leadership();
  const bool reusable = clear_up();
  give_up_leadership();  // Python code that was cleared up may have waited for an answer from Erlang
  set_thread_companion(nullptr);
  if (!stop_alias_.empty()) {
    TermWriter stopped;
    begin_reply(stopped, bytes_of(stop_alias_), 0);
    write_ok(stopped);
    finish_frame(stopped);
    services_.writer.send(stopped.bytes());
  }
  return reusable;
}

bool Context::clear_up() {
  enter_python();
  static_cast<void>(begin({}, now_ns() + kClearUpNs));
  while (auto left = mailbox_.pop()) left->rest = {};
  end_tasks();
  calling_.reset();
  envs_.reset();
  const bool reusable = mode_ == Mode::kOwnGil && interpreter_->clean();
  static_cast<void>(end());
  leave_python();
  services_.output.forget(id_);
  {
    const std::scoped_lock lock(current_mu_);
    interpreter_state_ = nullptr;
  }
  while (interrupters_.load() != 0) interrupters_.wait(1);
  return reusable;
}

bool Context::prepare(TermWriter& reply) {
  calling_ = std::make_unique<Calling>(interpreter_->types());
  envs_ = std::make_unique<Envs>();
  bool ready = prepare_interpreter(services_.config) && envs_->open();
  for (const std::string& code : services_.config.preload) {
    ready = ready && calling_->run(code, "<pool preload>", envs_->shared());
  }
  for (const std::string& code : preload_) ready = ready && calling_->run(code, "<context preload>", envs_->shared());
  ready = ready && envs_->keep_preload();
  services_.output.flush(id_);
  if (!ready) {
    write_exception(reply, interpreter_->types(), true, mode_ == Mode::kOwnGil);
    return false;
  }
  reply.version();
  reply.tuple_header(2);
  reply.atom("ok");
  reply.integer(interpreter_->id());
  return true;
}

void Context::fail_start(Bytes start_alias, const std::string& reason) {
  TermWriter out;
  begin_reply(out, start_alias, 0);
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom("unsupported");
  out.binary(reason);
  finish_frame(out);
  services_.writer.send(out.bytes());
  answer_stopped(mailbox_.remove_if([](const Request&) { return true; }));
}

void Context::execute(Request& request, bool apart) {
  const Message& message = request.message;
  if (request.is_husk()) return forget(request.rest, apart);
  switch (message.operation) {
    case Operation::kDropEnv:
      drop_env(message.env, apart);
      return;
    case Operation::kStopContext:
      stop_alias_ = text_of(message.alias);
      stopped_ = true;
      return;
    case Operation::kResult:
      return;  // of a callback that was given up
    case Operation::kCancel:
      // A request that was about to give way when the CANCEL came is back in the mailbox.
      if (!answer_waiting(message.alias, "cancelled")) cancel_ticket(text_of(message.alias), Interruption::kCancelled);
      return;
    case Operation::kCredit:
      return take_credit(request);
    default:
      break;
  }
  if (depth_ >= kMaxLevels) return refuse_nesting(request);
  Level& level = begin(message.alias, request.deadline_ns, &message, apart);
  if (request.rest.work) level.scope.chain = request.rest.chain;
  TermWriter& reply = level.reply;
  begin_reply(reply, message.alias, message.slot);
  const std::size_t payload_start = reply.size();
  if (take_cancel(message.alias)) {
    request.rest = {};
    static_cast<void>(end());
    write_interruption(reply, Interruption::kCancelled);
    return send_reply(reply, payload_start, message.alias);
  }
  // A callback may come back for an older chain while this request has set variables for a while.
  const bool lowest = is_lowest();
  if (lowest && services_.callbacks.has_functions()) {
    level.variables = PyRef::steal(PyContext_CopyCurrent());
    if (!level.variables) PyErr_Clear();
  }
  std::optional<OwnVariables> own;
  if (stands_on_another_chain()) own.emplace(lowest ? nullptr : levels_[loop_runs_ ? 1 : 0]->variables.get());
  const bool now = write_result(request, reply, payload_start);
  own.reset();
  level.variables = PyRef();
  if (now) send_reply(reply, payload_start, message.alias);
  if (request.rest.work) forget(request.rest, apart);
}

/// Of what was begun last: what waits below it is none of its business.
bool Context::stands_on_another_chain() const {
  if (depth_ < 2 || levels_[depth_ - 1]->apart) return false;
  const Level& below = *levels_[depth_ - 2];
  const Ticket* const step = below.step.get();
  const std::uint64_t waiting = step != nullptr ? step->scope.chain : below.scope.chain;
  return levels_[depth_ - 1]->scope.chain != waiting;
}

/// What the request would have gone on with, if it had not ended.
void Context::forget(Rest& rest, bool apart) {
  static_cast<void>(begin({}, now_ns() + kClearUpNs, nullptr, apart));
  rest = {};
  static_cast<void>(end());
}

void Context::drop_env(std::uint64_t env, bool apart) {
  static_cast<void>(begin({}, now_ns() + kClearUpNs, nullptr, apart));
  envs_->drop(env);
  static_cast<void>(end());
  counters_.envs.store(envs_->size(), std::memory_order_relaxed);
}

void Context::answer_stopped(const std::vector<Request>& requests) {
  TermWriter out;
  for (const Request& request : requests) {
    if (request.message.alias.empty()) continue;
    begin_reply(out, request.message.alias, request.message.slot);
    if (request.message.operation == Operation::kStopContext) {
      write_ok(out);
    } else {
      write_context_died_stopped(out);
    }
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
}

void Context::give_up_leadership() {
  Leadership& leadership = services_.reader.leadership();
  if (!leadership.try_lead(id_)) return;
  leadership.leave_to_loop();
  services_.loop.watch_stdin();
}

}  // namespace erlang_python
