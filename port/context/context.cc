#include "context/context.h"

#include "base/clock.h"
#include "etf/encode.h"
#include "python/erlang_module.h"
#include "python/exception.h"
#include "runtime/port_loop.h"

namespace erlang_python {
namespace {

// How long finalizers may take when a namespace or a context goes; then they are interrupted like a late request.
constexpr std::int64_t kClearUpNs = 5'000 * kNsPerMs;
constexpr std::size_t kKeptReplyBytes = 256 * 1024;

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Context::Context(ContextId id, Mode mode, std::vector<std::string> preload, Services& services)
    : id_(id),
      mode_(mode),
      preload_(std::move(preload)),
      services_(services),
      // The header of a reply comes on top of the value; so does the error that replaces a value that is too large.
      reply_(services.config.max_value_bytes + 4096) {}

bool Context::run(Interpreter& interpreter, Bytes start_alias) {
  interpreter_ = &interpreter;
  {
    const std::scoped_lock lock(current_mu_);
    interpreter_state_ = interpreter.state();
    thread_ident_ = interpreter.thread_ident();
  }
  begin_reply(reply_, start_alias, 0);
  const std::size_t payload_start = reply_.size();
  executing_.store(true, std::memory_order_seq_cst);
  services_.ticker.ensure_armed();
  interpreter.attach();
  begin(start_alias, 0);
  const bool ready = prepare(reply_);
  if (end().why != Interruption::kNone && !ready) {
    reply_.truncate(payload_start);
    write_context_died_stopped(reply_);
  }
  interpreter.detach();
  executing_.store(false, std::memory_order_seq_cst);
  services_.writer.send_reply(reply_, payload_start, start_alias, 0);
  if (ready) serve();

  answer_stopped(mailbox_.remove_if([](const Request&) { return true; }));
  give_up_leadership();
  const bool reusable = clear_up();
  if (!stop_alias_.empty()) {
    begin_reply(reply_, bytes_of(stop_alias_), 0);
    write_ok(reply_);
    finish_frame(reply_);
    services_.writer.send(reply_.bytes());
  }
  return reusable;
}

bool Context::clear_up() {
  executing_.store(true, std::memory_order_seq_cst);
  services_.ticker.ensure_armed();
  interpreter_->attach();
  begin({}, now_ns() + kClearUpNs);
  calling_.reset();
  envs_.reset();
  const bool reusable = mode_ == Mode::kOwnGil && interpreter_->clean();
  static_cast<void>(end());
  interpreter_->detach();
  executing_.store(false, std::memory_order_seq_cst);
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

void Context::serve() {
  while (!stopped_) {
    run_waiting();
    if (stopped_) return;
    if (services_.reader.leadership().try_lead(id_)) {
      lead();
    } else {
      mailbox_.sleep(-1);
    }
  }
}

void Context::run_waiting() {
  if (mailbox_.empty()) return;
  executing_.store(true, std::memory_order_seq_cst);
  services_.ticker.ensure_armed();
  services_.census.enter();
  interpreter_->attach();
  while (!stopped_) {
    auto request = mailbox_.pop();
    if (!request) break;
    execute(*request);
    if (services_.writer.congested()) {
      interpreter_->detach();
      services_.writer.wait_for_room();
      interpreter_->attach();
    }
  }
  interpreter_->detach();
  services_.census.leave();
  executing_.store(false, std::memory_order_seq_cst);
}

void Context::lead() {
  Leadership& leadership = services_.reader.leadership();
  services_.census.enter();
  std::int64_t waiting_since = 0;
  bool spinning = false;
  for (;;) {
    if (!mailbox_.empty()) {
      // Left here by the reader before, between this context's last look at its mailbox and its taking the lead: it
      // was awake, so nobody wakes it.
      leadership.begin_running(id_);
      services_.ticker.ensure_armed();
      services_.census.leave();
      return;
    }
    batch_.clear();
    services_.reader.read_once(services_.dispatcher, id_, batch_);
    if (batch_.any) {
      if (spinning) spin_.found_while_spinning();
      waiting_since = 0;
      spinning = false;
      if (batch_.own || !batch_.asleep.empty()) {
        // Leadership follows the traffic: with nothing for this context it goes to the first that was woken.
        leadership.begin_running(batch_.own ? id_ : batch_.asleep.front()->context());
        services_.ticker.ensure_armed();
        for (const auto& sleeper : batch_.asleep) sleeper->wake();
        batch_.clear();
        services_.census.leave();
        return;
      }
      continue;
    }
    const std::int64_t now = now_ns();
    if (waiting_since == 0) waiting_since = now;
    if (spin_.worth_it() && services_.census.core_to_spare() && now - waiting_since < SpinPolicy::kSpinNs) {
      spinning = true;
      pause_cpu();
      continue;
    }
    spinning = false;
    services_.census.leave();
    mailbox_.sleep(services_.reader.fd());
    services_.census.enter();
    spin_.slept(now_ns() - waiting_since);
    waiting_since = 0;
  }
}

void Context::execute(const Request& request) {
  const Message& message = request.message;
  switch (message.operation) {
    case Operation::kDropEnv:
      drop_env(message.env);
      return;
    case Operation::kStopContext:
      stop_alias_ = text_of(message.alias);
      stopped_ = true;
      return;
    default:
      break;
  }
  begin(message.alias, request.deadline_ns);
  begin_reply(reply_, message.alias, message.slot);
  const std::size_t payload_start = reply_.size();
  write_result(request, reply_, payload_start);
  services_.output.flush(id_);
  send_reply(reply_, payload_start, message);
}

void Context::write_result(const Request& request, TermWriter& out, std::size_t payload_start) {
  counters_.calls.fetch_add(1, std::memory_order_relaxed);
  const EncodeOptions options{(request.message.flags & kStrict) != 0, (request.message.flags & kBuffer) != 0};
  PyRef value = run_python(request);
  bool encoded = false;
  if (value) {
    if (request.message.operation == Operation::kExec) {
      write_ok(out);
      encoded = true;
    } else {
      out.version();
      out.tuple_header(2);
      out.atom("ok");
      encoded = encode_term(value.get(), out, options, interpreter_->types(), services_.atoms);
    }
    value = PyRef();  // its destructor may run Python code, which still belongs to this request
  }
  const std::size_t wanted = out.wanted_bytes();
  if (!encoded) {
    out.truncate(payload_start);
    write_exception(out, interpreter_->types(), (request.message.flags & kTraceback) != 0, mode_ == Mode::kOwnGil);
  }
  const auto [why, pending] = end();
  // An interrupted request that failed did so because of it, whatever exception it has made of it.
  const bool interrupted = why != Interruption::kNone && (pending || !encoded);
  if (encoded && !interrupted && !out.overflowed()) return;
  counters_.errors.fetch_add(1, std::memory_order_relaxed);
  if (interrupted) {
    out.truncate(payload_start);
    if (why == Interruption::kStopped) {
      write_context_died_stopped(out);
    } else {
      if (why == Interruption::kTimeout) counters_.timeouts.fetch_add(1, std::memory_order_relaxed);
      write_error(out, why == Interruption::kTimeout ? "timeout" : "interrupted");
    }
  } else if (out.overflowed()) {
    const std::size_t bytes = encoded ? wanted : out.wanted_bytes();
    out.truncate(payload_start);
    write_too_large(out, bytes - payload_start, services_.config.max_value_bytes);
  }
}

void Context::drop_env(std::uint64_t env) {
  begin({}, now_ns() + kClearUpNs);
  envs_->drop(env);
  static_cast<void>(end());
  counters_.envs.store(envs_->size(), std::memory_order_relaxed);
}

PyRef Context::run_python(const Request& request) {
  const Message& message = request.message;
  TermReader body(request.frame.bytes());
  body.rewind(message.body);
  // Held: the code may outlive the env's process, and with it the env, while it runs.
  const bool call = message.operation == Operation::kCall;
  auto own = PyRef::borrow(call ? envs_->find(message.env) : envs_->get(message.env));
  if (!call && !own) return {};
  counters_.envs.store(envs_->size(), std::memory_order_relaxed);
  const ThreadNamespace shown_as_main(own ? own.get() : envs_->shared());
  if (call) return calling_->call(body, {own.get(), envs_->shared()});
  return message.operation == Operation::kEval ? calling_->eval(body, own.get()) : calling_->exec(body, own.get());
}

void Context::send_reply(TermWriter& out, std::size_t payload_start, const Message& message) {
  services_.writer.send_reply(out, payload_start, message.alias, message.slot);
  out.shrink(kKeptReplyBytes);
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
