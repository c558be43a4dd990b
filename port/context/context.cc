#include "context/context.h"

#include <utility>

#include "base/clock.h"
#include "base/freed_memory.h"
#include "context/answers.h"
#include "runtime/port_loop.h"

namespace erlang_python {
Context::Context(ContextId id, Mode mode, std::vector<std::string> preload, Services& services)
    : id_(id),
      mode_(mode),
      preload_(std::move(preload)),
      services_(services),
      interrupter_(std::make_shared<Interrupter>(id, mailbox_, services)),
      levels_(id, *this, mailbox_, *interrupter_, services),
      tasks_(id, *this, levels_, *interrupter_, counters_, services),
      runner_(id, mailbox_, levels_, tasks_, counters_, services) {}

bool Context::run(Interpreter& interpreter, Bytes start_alias) {
  interpreter_ = &interpreter;
  tasks_.open(std::shared_ptr<Tasks>(shared_from_this(), &tasks_), interpreter);
  interrupter_->open(interpreter, tasks_);
  set_thread_companion(this);
  TermWriter reply(reply_limits(services_.config));
  begin_reply(reply, start_alias, 0);
  const std::size_t payload_start = reply.size();
  enter_python();
  const bool ready = runner_.open(interpreter, preload_, start_alias, reply);
  leave_python();
  services_.writer.send_in_pieces(reply, payload_start, start_alias);
  if (ready) serve();

  answer_stopped(services_.writer, mailbox_.remove_if([](const Request&) { return true; }));
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
  const std::int64_t ends_ns = ends_ns_;
  const bool has_memory = ends_ns == 0 && counters_.calls.load(std::memory_order_relaxed) > 0;
  enter_python();
  bool reusable = false;
  {
    const std::int64_t grace_ns = services_.config.shutdown_grace_ms * kNsPerMs;
    const std::int64_t until_ns = ends_ns != 0 ? ends_ns : now_ns() + grace_ns;
    const Running running(levels_, {{}, until_ns});
    while (auto left = mailbox_.pop()) left->rest = {};
    tasks_.end_all();
    runner_.close();
    if (mode_ == Mode::kOwnGil) {
      const bool for_good = ends_ns != 0 || interpreters_can_end();
      // A context that is stopped while Python goes on is also to be cleaned within the grace.
      const std::int64_t time_ns = ends_ns != 0 ? until_ns - now_ns() : grace_ns / 2;
      // Cleaned also where it is ended and not used again: what objects of users do at their end is done here, where it
      // can be interrupted, and not while Py_EndInterpreter keeps others from starting (Interpreter::Options).
      reusable = interpreter_->end(time_ns, for_good) && (ends_ns != 0 || interpreter_->clean());
    } else if (has_memory) {
      PyGC_Collect();  // others go on in this interpreter: what this context had is to be gone now
    }
  }
  leave_python();
  if (has_memory) return_freed_memory();
  services_.output.forget(id_);
  interrupter_->close();
  return reusable;
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
  answer_stopped(services_.writer, mailbox_.remove_if([](const Request&) { return true; }));
}

void Context::give_up_leadership() {
  Leadership& leadership = services_.reader.leadership();
  if (!leadership.try_lead(id_)) return;
  leadership.leave_to_loop();
  services_.loop.watch_stdin();
}

bool Context::interrupt() {
  auto stack = interrupter_->stack();
  if (stack->interrupt(now_ns(), stack.effects)) return true;
  // One that goes on by turns runs, though this may be the moment between two of them.
  bool found = false;
  const auto in_turn =
      mailbox_.remove_if([&found](const Request& request) { return request.rest.work && !std::exchange(found, true); });
  answer_with_error(services_.writer, in_turn, "interrupted");
  return found || stack->interrupt_loop(executing(), now_ns(), stack.effects);
}

bool Context::cancel(Request request) {
  if (answer_waiting(services_.writer, mailbox_, request.message.alias, "cancelled")) return false;
  auto stack = interrupter_->stack();
  if (!stack->cancel(view_of(request.message.alias), now_ns(), stack.effects)) return false;
  // Still under the lock: a request that is between the mailbox and its level finds the CANCEL when it begins.
  return accept(std::move(request));
}

bool Context::stop(Request request) {
  stopping_ = true;
  answer_stopped(services_.writer, mailbox_.remove_if([](const Request& waiting) {
    return waiting.message.operation != Operation::kDropEnv && waiting.message.operation != Operation::kStopContext &&
           waiting.message.operation != Operation::kResult;
  }));
  {
    auto stack = interrupter_->stack();
    stack->stop(now_ns(), stack.effects);
  }
  return accept(std::move(request));
}

void Context::watch(std::int64_t now) {
  const auto late = mailbox_.remove_if(
      [now](const Request& request) { return request.deadline_ns != 0 && now >= request.deadline_ns; });
  counters_.timeouts.fetch_add(late.size(), std::memory_order_relaxed);
  answer_with_error(services_.writer, late, "timeout");
  interrupter_->tick(executing(), now);
}

}  // namespace erlang_python
