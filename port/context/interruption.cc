// The parts of Context that watch and interrupt the running request. See docs/design.md, "Interrupts".

#include <thread>

#include "base/clock.h"
#include "context/context.h"

namespace erlang_python {
namespace {

// A request that catches KeyboardInterrupt and goes on gets it again.
constexpr std::int64_t kInterruptAgainNs = 1'000 * kNsPerMs;

}  // namespace

void Context::begin(const Request& request) {
  const std::scoped_lock lock(current_mu_);
  ++current_.number;
  current_.running = true;
  current_.deadline_ns = request.deadline_ns;
  current_.interruption = Interruption::kNone;
  current_.delivered = false;
  current_.stuck_reported = false;
  current_.alias.assign(reinterpret_cast<const char*>(request.message.alias.data()), request.message.alias.size());
}

Context::Ended Context::end() {
  const std::scoped_lock lock(current_mu_);
  current_.running = false;
  if (!current_.delivered) return {Interruption::kNone, false};
  // An exception that was set but not raised yet, since no Python code ran after a long C call, must not hit the next
  // request.
  const bool pending = PyThreadState_Get()->async_exc != nullptr;
  if (pending) PyThreadState_SetAsyncExc(thread_ident_, nullptr);
  return {current_.interruption, pending};
}

bool Context::interrupt() {
  const std::scoped_lock lock(current_mu_);
  if (!current_.running) return false;
  start_interrupter(Interruption::kRequested, now_ns());
  return true;
}

bool Context::stop(Request request) {
  stopping_ = true;
  answer_stopped(mailbox_.remove_if([](const Request& waiting) {
    return waiting.message.operation != Operation::kDropEnv && waiting.message.operation != Operation::kStopContext;
  }));
  {
    const std::scoped_lock lock(current_mu_);
    if (current_.running) {
      // From here on it is late, whatever its own deadline: interrupted again and again, and reported as stuck.
      current_.deadline_ns = now_ns();
      start_interrupter(Interruption::kStopped, current_.deadline_ns);
    }
  }
  return accept(std::move(request));
}

void Context::watch(std::int64_t now) {
  for (const Request& late : mailbox_.remove_if(
           [now](const Request& request) { return request.deadline_ns != 0 && now >= request.deadline_ns; })) {
    counters_.timeouts.fetch_add(1, std::memory_order_relaxed);
    TermWriter out;
    begin_reply(out, late.message.alias, late.message.slot);
    write_error(out, "timeout");
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
  const std::scoped_lock lock(current_mu_);
  if (!current_.running || current_.deadline_ns == 0 || now < current_.deadline_ns) return;
  if (current_.interruption == Interruption::kNone || now - current_.interrupted_ns >= kInterruptAgainNs) {
    start_interrupter(current_.interruption == Interruption::kStopped ? Interruption::kStopped : Interruption::kTimeout,
                      now);
  }
  const std::int64_t grace_ms = services_.config.hard_timeout_grace_ms;
  if (grace_ms > 0 && !current_.stuck_reported && now >= current_.deadline_ns + grace_ms * kNsPerMs) {
    current_.stuck_reported = true;
    TermWriter out;
    begin_notice(out, Notice::kStuck, 2);
    out.integer(id_);
    out.raw({reinterpret_cast<const std::uint8_t*>(current_.alias.data()), current_.alias.size()});
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
}

void Context::start_interrupter(Interruption why, std::int64_t now) {
  current_.interrupted_ns = now;
  current_.interruption = why;
  if (interrupters_.load() != 0) return;  // one is waiting for the GIL already, and reads `interruption` when it has it
  interrupters_.store(1);
  // Attaching waits for as long as C code holds the GIL, so neither the loop nor another context's interrupt may do it.
  std::thread([self = shared_from_this(), number = current_.number] { self->deliver_interrupt(number); }).detach();
}

void Context::deliver_interrupt(std::uint64_t number) {
  PyInterpreterState* interpreter = nullptr;
  {
    const std::scoped_lock lock(current_mu_);
    if (current_.running && current_.number == number) interpreter = interpreter_state_;
  }
  if (interpreter != nullptr) {
    PyThreadState* state = PyThreadState_New(interpreter);
    if (state != nullptr) {
      PyEval_RestoreThread(state);
      {
        const std::scoped_lock lock(current_mu_);
        if (current_.running && current_.number == number) {
          current_.delivered = true;
          PyThreadState_SetAsyncExc(thread_ident_, PyExc_KeyboardInterrupt);
        }
      }
      PyThreadState_Clear(state);
      PyThreadState_DeleteCurrent();
    }
  }
  interrupters_.store(0);
  interrupters_.notify_all();
}

}  // namespace erlang_python
