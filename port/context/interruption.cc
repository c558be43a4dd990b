// The parts of Context that watch and interrupt the running request. See docs/design.md, "Interrupts".

#include <pthread.h>

#include <memory>

#include "base/clock.h"
#include "context/context.h"

namespace erlang_python {
namespace {

// A request that catches KeyboardInterrupt and goes on gets it again.
constexpr std::int64_t kInterruptAgainNs = 1'000 * kNsPerMs;

constexpr std::size_t kInterrupterStackBytes = 512 * 1024;

}  // namespace

void Context::begin(Bytes alias, std::int64_t deadline_ns) {
  const std::scoped_lock lock(current_mu_);
  current_.running = true;
  current_.deadline_ns = deadline_ns;
  current_.interruption = Interruption::kNone;
  current_.wanted = false;
  current_.delivered = false;
  current_.stuck_reported = false;
  current_.alias.assign(reinterpret_cast<const char*>(alias.data()), alias.size());
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
  // What has no alias, the end of a namespace, is nobody's request.
  if (!current_.running || current_.alias.empty()) return false;
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
  if (!current_.running) return;
  // No thread could be had for it a tick ago.
  if (current_.wanted && interrupters_.load() == 0) start_interrupter(current_.interruption, now);
  if (current_.deadline_ns == 0 || now < current_.deadline_ns) return;
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
    if (current_.alias.empty()) {
      out.atom("none");
    } else {
      out.raw({reinterpret_cast<const std::uint8_t*>(current_.alias.data()), current_.alias.size()});
    }
    finish_frame(out);
    services_.writer.send(out.bytes());
  }
}

void Context::start_interrupter(Interruption why, std::int64_t now) {
  current_.interrupted_ns = now;
  current_.interruption = why;
  current_.wanted = true;
  if (interrupters_.load() != 0) return;  // it looks again, under current_mu_, before it ends
  // Attaching waits for as long as C code holds the GIL, so neither the loop nor another context's interrupt may do it.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kInterrupterStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto self = std::make_unique<std::shared_ptr<Context>>(shared_from_this());
  pthread_t thread{};
  interrupters_.store(1);
  if (pthread_create(&thread, &attributes, interrupter_entry, self.get()) == 0) {
    static_cast<void>(self.release());  // the thread owns it now
  } else {
    interrupters_.store(0);  // watch() tries again
  }
  pthread_attr_destroy(&attributes);
}

void* Context::interrupter_entry(void* argument) {
  const std::unique_ptr<std::shared_ptr<Context>> self(static_cast<std::shared_ptr<Context>*>(argument));
  (*self)->deliver_interrupts();
  return nullptr;
}

void Context::deliver_interrupts() {
  for (;;) {
    PyInterpreterState* interpreter = nullptr;
    {
      const std::scoped_lock lock(current_mu_);
      if (current_.running && current_.wanted) interpreter = interpreter_state_;
      if (interpreter == nullptr) {
        interrupters_.store(0);
        break;
      }
    }
    PyThreadState* state = PyThreadState_New(interpreter);
    if (state == nullptr) continue;
    PyEval_RestoreThread(state);
    {
      const std::scoped_lock lock(current_mu_);
      if (current_.running && current_.wanted) {
        current_.wanted = false;
        current_.delivered = true;
        PyThreadState_SetAsyncExc(thread_ident_, PyExc_KeyboardInterrupt);
      }
    }
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
  }
  interrupters_.notify_all();
}

}  // namespace erlang_python
