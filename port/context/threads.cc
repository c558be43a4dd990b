// The part of Contexts that starts threads, and keeps those whose interpreter cannot be ended.

#include <memory>
#include <string>
#include <utility>

#include "base/detached_thread.h"
#include "base/thread_name.h"
#include "context/contexts.h"
#include "interpreter/interpreter.h"
#include "runtime/crash_handler.h"

namespace erlang_python {
namespace {

// CPython counts on the 8 MiB of a main thread; callbacks nest on top of one another. Only touched pages cost memory.
constexpr std::size_t kStackBytes = 64 * 1024 * 1024;

std::string name_after(ContextId context) { return "py_ctx_" + std::to_string(context); }

}  // namespace

void Contexts::new_context(const Frame& frame, const Message& message) {
  if (ending_) return reply_no_context(message);
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto mode = body.read_int64();
  if (!mode || (*mode != 0 && *mode != 1)) return reply_bad_request(message.alias, 0, "mode is neither 0 nor 1");
  const auto pairs = body.read_map_header();
  if (!pairs) return reply_bad_request(message.alias, 0, "context options are not a map");
  std::vector<std::string> preload;
  for (std::size_t i = 0; i < *pairs; ++i) {
    const auto key = body.read_atom();
    if (key != "preload") return reply_bad_request(message.alias, 0, "unknown context option");
    auto texts = read_texts(body, "preload");
    if (!texts) return reply_bad_request(message.alias, 0, texts.error().message);
    preload = std::move(*texts);
  }
  if (static_cast<Mode>(*mode) == Mode::kOwnGil && !owngil_supported()) {
    TermWriter out;
    begin_reply(out, message.alias, 0);
    write_error(out, "unsupported", "owngil_requires_python_3_13");
    finish_frame(out);
    services_.writer.send(out.bytes());
    return;
  }
  if (message.context == 0) return reply_bad_request(message.alias, 0, "context 0");
  auto context = std::make_shared<Context>(message.context, static_cast<Mode>(*mode), std::move(preload), services_);
  {
    const MutexLock lock(mu_);
    had_workers_ = had_workers_ || context->mode() == Mode::kWorker;
    if (!contexts_.emplace(message.context, context).second) {
      return reply_bad_request(message.alias, 0, "a context with this number exists");
    }
  }
  start({std::move(context), {reinterpret_cast<const char*>(message.alias.data()), message.alias.size()}});
}

void Contexts::start(Start start) {
  if (start.context->mode() == Mode::kOwnGil) {
    const MutexLock lock(mu_);
    if (for_parked_.size() < parked_) {
      for_parked_.push_back(std::move(start));
      parked_bell_.notify_one();
      return;
    }
  }
  const auto serve = [this, start]() mutable {
    const SignalStack signal_stack;
    serve_thread(std::move(start));
  };
  const bool started = start_detached_thread(name_after(start.context->context()), kStackBytes, serve);
  if (started) return;
  {
    const MutexLock lock(mu_);
    contexts_.erase(start.context->context());
  }
  start.context->fail_start(bytes_of(start.alias), "no thread: the operating system refuses one more");
}

void Contexts::serve_thread(Start start) {
  auto opened = Interpreter::open({start.context->mode(), start.context->context(), services_.config, services_.link,
                                   services_.interpreter_creation_mu});
  if (!opened) {
    {
      const MutexLock lock(mu_);
      contexts_.erase(start.context->context());
      gone_bell_.notify_all();
    }
    start.context->fail_start(bytes_of(start.alias), opened.error().message);
    return;
  }
  const std::unique_ptr<Interpreter> interpreter = std::move(*opened);
  for (;;) {
    const bool reusable = start.context->run(*interpreter, bytes_of(start.alias));
    {
      const MutexLock lock(mu_);
      const auto found = contexts_.find(start.context->context());
      if (found != contexts_.end() && found->second == start.context) contexts_.erase(found);
      gone_bell_.notify_all();
    }
    start = {};
    if (interpreter->mode() != Mode::kOwnGil) return;
    interpreter->attach();
    interpreter->assign_to(0);
    interpreter->detach();
    if (!reusable) {
      interpreter->abandon();
      return;
    }
    if (interpreters_can_end()) return;
    name_this_thread("py_parked");
    start = wait_parked();
    name_this_thread(name_after(start.context->context()));
    interpreter->attach();
    interpreter->assign_to(start.context->context());
    interpreter->detach();
  }
}

Contexts::Start Contexts::wait_parked() {
  const MutexLock lock(mu_);
  ++parked_;
  while (for_parked_.empty()) parked_bell_.wait(mu_);
  --parked_;
  Start next = std::move(for_parked_.front());
  for_parked_.pop_front();
  return next;
}

}  // namespace erlang_python
