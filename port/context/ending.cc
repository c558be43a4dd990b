// The part of Contexts that ends Python in order. See docs/design.md, "The end of Python".

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/detached_thread.h"
#include "context/contexts.h"
#include "interpreter/interpreter.h"
#include "runtime/crash_handler.h"
#include "runtime/port_loop.h"

namespace erlang_python {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024 * 1024;

// Of the second that the keepers leave to Python when the node is gone; the process leaves a little later.
constexpr std::int64_t kInputEndedNs = 800 * kNsPerMs;

}  // namespace

void Contexts::take_end(const Frame& frame, ContextId reader, Batch& batch) {
  TermReader body(frame.bytes());
  static_cast<void>(body.read_version());
  static_cast<void>(body.read_tuple_header());
  static_cast<void>(body.read_int64());
  const auto time_ms = body.read_int64();
  constexpr std::int64_t kLongestMs = 1'000'000'000;
  if (!time_ms || *time_ms < 0) return refuse("the time of END is not a non-negative integer");
  end(std::min(*time_ms, kLongestMs) * kNsPerMs, reader, batch);
}

void Contexts::input_ended(ContextId reader, Batch& batch) {
  end(kInputEndedNs, reader, batch);
  services_.loop.input_ended();
}

void Contexts::end(std::int64_t time_ns, ContextId reader, Batch& batch) {
  if (std::exchange(ending_, true)) return;
  services_.callbacks.close();
  std::vector<std::shared_ptr<Context>> all;
  {
    const MutexLock lock(mu_);
    for (const auto& entry : contexts_) all.push_back(entry.second);
  }
  // Not the last of the time for those that do not end: what has waited for them is to have some too.
  const std::int64_t until_ns = now_ns() + time_ns;
  const std::int64_t contexts_until_ns = until_ns - time_ns / 2;
  for (const auto& context : all) {
    if (context->stopping()) continue;
    Message stop;
    stop.operation = Operation::kStopContext;
    stop.context = context->context();
    if (context->end({Frame(), stop, 0}, contexts_until_ns)) wake_later(context, batch);
    if (context->context() == reader) batch.own = true;
  }
  const bool started = start_detached_thread("py_ending", kStackBytes, [this, contexts_until_ns, until_ns] {
    const SignalStack signal_stack;
    finish_end(contexts_until_ns, until_ns);
  });
  if (!started) services_.loop.python_ended();  // there is no thread to end it in
}

void Contexts::finish_end(std::int64_t contexts_until_ns, std::int64_t until_ns) {
  bool had_workers = false;
  {
    const MutexLock lock(mu_);
    for (std::int64_t now = now_ns(); !contexts_.empty() && now < contexts_until_ns; now = now_ns()) {
      gone_bell_.wait_for(mu_, std::chrono::milliseconds((contexts_until_ns - now) / kNsPerMs + 1));
    }
    had_workers = had_workers_;
  }
  if (had_workers) end_main_interpreter(until_ns);
  std::fflush(nullptr);
  services_.loop.python_ended();
}

/// Which all worker contexts have shared. Not by Py_FinalizeEx: it waits for ever for threads that do not end, is for
/// the thread that has started Python, and aborts below 3.14 when there are subinterpreters.
void Contexts::end_main_interpreter(std::int64_t until_ns) {
  auto opened =
      Interpreter::open({Mode::kWorker, 0, services_.config, services_.link, services_.interpreter_creation_mu});
  if (!opened) return;
  Interpreter& interpreter = **opened;
  interpreter.attach();
  static_cast<void>(interpreter.end(until_ns - now_ns(), true));
  interpreter.detach();
  services_.output.forget(0);
}

}  // namespace erlang_python
