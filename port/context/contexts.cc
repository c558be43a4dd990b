#include "context/contexts.h"

#include <variant>

#include "base/clock.h"
#include "segments/segments.h"

namespace erlang_python {

std::shared_ptr<Context> Contexts::find(ContextId id) const {
  const MutexLock lock(mu_);
  const auto found = contexts_.find(id);
  return found == contexts_.end() ? nullptr : found->second;
}

void Contexts::dispatch(Frame frame, ContextId reader, Batch& batch) {
  const auto parsed = parse_message(frame.bytes());
  if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
    if (malformed->alias.empty()) {
      refuse(malformed->reason);
    } else {
      reply_bad_request(malformed->alias, malformed->slot, malformed->reason);
    }
    return;
  }
  dispatch_message(std::move(frame), std::get<Message>(parsed), reader, batch);
}

void Contexts::dispatch_message(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  switch (message.operation) {
    case Operation::kCall:
    case Operation::kEval:
    case Operation::kExec:
    case Operation::kDropEnv:
    case Operation::kCheck:
      deliver(std::move(frame), message, reader, batch);
      break;
    case Operation::kPiece:
    case Operation::kLastPiece:
      take_piece(std::move(frame), message, reader, batch);
      break;
    case Operation::kWithSegments:
      take_with_segments(std::move(frame), message, reader, batch);
      break;
    case Operation::kSegmentsRead:
      take_segments_read(frame, message);
      break;
    case Operation::kDiscard:
      discard_segments(frame, message);
      break;
    case Operation::kResult:
      take_result(std::move(frame), message, reader, batch);
      break;
    case Operation::kFunctions:
      take_functions(frame, message);
      break;
    case Operation::kMessagesTaken:
      take_message_credit(frame, message);
      break;
    case Operation::kCancel:
      cancel(std::move(frame), message, reader, batch);
      break;
    case Operation::kCredit:
      if (find(message.context)) deliver(std::move(frame), message, reader, batch);
      break;
    case Operation::kNewContext:
      new_context(frame, message);
      break;
    case Operation::kStopContext:
      stop_context(std::move(frame), message, reader, batch);
      break;
    case Operation::kInterrupt:
      interrupt(message);
      break;
    case Operation::kStats:
      stats(message);
      break;
    case Operation::kRestrict:
      restrict(message);
      break;
    case Operation::kEnd:
      take_end(frame, reader, batch);
      break;
    case Operation::kInit:
      refuse("a second INIT");
      break;
    case Operation::kSegmentsOpened:
      refuse("SEGMENTS_OPENED after the start");
      break;
  }
}

void Contexts::deliver(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  const auto context = find(message.context);
  // A context that stops ends its coroutines, which may still ask Erlang for something.
  if (!context || (context->stopping() && message.operation != Operation::kResult)) {
    if (!message.alias.empty()) reply_no_context(message);
    return;
  }
  Request request{std::move(frame), message, 0};
  if (message.timeout_ms > 0) {
    constexpr std::uint64_t kLongestMs = 1'000'000'000'000;  // thirty years: keeps the sum below 2^63
    request.deadline_ns = now_ns() + static_cast<std::int64_t>(std::min(message.timeout_ms, kLongestMs)) * kNsPerMs;
  }
  const bool stream = (message.flags & kStream) != 0;  // needs the loop of the context
  if (message.chain != 0 && !stream && services_.callbacks.offer(request, context->mode() == Mode::kWorker)) return;
  const bool asleep = context->accept(std::move(request));
  if (context->context() == reader) {
    batch.own = true;
  } else if (asleep) {
    wake_later(context, batch);
  }
}

void Contexts::serve_guest(const Request& request, const RequestScope* below) {
  if (const auto context = find(request.message.context)) {
    context->serve_guest(request, below);
  } else {
    reply_no_context(request.message);
  }
}

void Contexts::take_piece(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto piece = body.read_binary();
  if (!piece) return reply_bad_request(message.alias, message.slot, "a piece is not a binary");
  if (message.operation == Operation::kPiece) {
    // Should the rest never come, they are given back all the same.
    if (pieces_.add(message.alias, *piece, now_ns())) pieces_.keep_segments(message.alias, segments_of(*piece));
    return;
  }
  auto whole = pieces_.finish(message.alias, *piece);
  if (!whole) {
    return reply_bad_request(message.alias, message.slot,
                             "a request in pieces is larger than max_frame_bytes, or paused for a minute");
  }
  const auto parsed = parse_message(whole->bytes());
  if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
    return reply_bad_request(message.alias, message.slot, malformed->reason);
  }
  const auto& joined = std::get<Message>(parsed);
  if (joined.operation == Operation::kPiece || joined.operation == Operation::kLastPiece) {
    return reply_bad_request(message.alias, message.slot, "a piece made of pieces");
  }
  dispatch_message(std::move(*whole), joined, reader, batch);
}

void Contexts::take_result(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  services_.calls.answered(message.callback);
  if (Callbacks::is_context_id(message.callback)) return deliver(std::move(frame), message, reader, batch);
  services_.callbacks.deliver(message.callback, {std::move(frame), message.body});
}

void Contexts::take_functions(const Frame& frame, const Message& message) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  auto names = read_texts(body, "functions");
  if (!names) return refuse(names.error().message);
  services_.callbacks.set_functions(std::move(*names));
}

void Contexts::take_message_credit(const Frame& frame, const Message& message) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto bytes = body.read_int64();
  if (!bytes || *bytes < 0) return refuse("the credit for messages is not a non-negative integer");
  services_.writer.messages_taken(static_cast<std::uint64_t>(*bytes));
}

void Contexts::stop_context(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  // It stays among the contexts, and watched, until its thread has really left it.
  const auto context = find(message.context);
  if (!context || context->stopping()) return reply_no_context(message);
  if (context->stop({std::move(frame), message, 0})) wake_later(context, batch);
  if (context->context() == reader) batch.own = true;
}

void Contexts::cancel(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  const auto context = find(message.context);
  if (!context || context->stopping()) return;
  if (context->cancel({std::move(frame), message, 0})) wake_later(context, batch);
  if (context->context() == reader) batch.own = true;
}

void Contexts::interrupt(const Message& message) {
  const auto context = find(message.context);
  if (!context) return reply_no_context(message);
  const bool running = context->interrupt();
  TermWriter out;
  begin_reply(out, message.alias, 0);
  write_ok_atom(out, running ? "ok" : "not_running");
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::stats(const Message& message) {
  TermWriter out;
  begin_reply(out, message.alias, 0);
  out.version();
  out.tuple_header(2);
  out.atom("ok");
  const auto number = [&out](std::string_view key, std::uint64_t value) {
    out.atom(key);
    out.integer(static_cast<std::int64_t>(value));
  };
  out.map_header(services_.segments != nullptr ? 3 : 2);
  number("rss", resident_bytes(services_.segments));
  if (services_.segments != nullptr) number("shared_memory", services_.segments->file().stored_bytes());
  out.atom("contexts");
  {
    const MutexLock lock(mu_);
    out.map_header(contexts_.size());
    for (const auto& [id, context] : contexts_) {
      const ContextCounters& counters = context->counters();
      out.integer(id);
      out.map_header(7);
      number("in_flight", context->executing() ? 1 : 0);
      number("queued", context->queued());
      number("calls", counters.calls.load(std::memory_order_relaxed));
      number("errors", counters.errors.load(std::memory_order_relaxed));
      number("timeouts", counters.timeouts.load(std::memory_order_relaxed));
      number("envs", counters.envs.load(std::memory_order_relaxed));
      number("tasks", counters.tasks.load(std::memory_order_relaxed));
    }
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::restrict(const Message& message) {
  const Status restricted = services_.sandbox.restrict_process();
  TermWriter out;
  begin_reply(out, message.alias, 0);
  if (restricted) {
    write_ok(out);
  } else {
    write_sandbox_unavailable(out, restricted.error().message);
  }
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::reply_bad_request(Bytes alias, std::uint32_t slot, std::string_view reason) {
  TermWriter out;
  begin_reply(out, alias, slot);
  write_bad_request(out, reason);
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::reply_no_context(const Message& message) {
  TermWriter out;
  begin_reply(out, message.alias, message.slot);
  write_context_died_stopped(out);
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::refuse(std::string_view reason) {
  TermWriter out;
  begin_notice(out, Notice::kRefused, 1);
  out.binary(reason);
  finish_frame(out);
  services_.writer.send(out.bytes());
}

void Contexts::refused_frame(std::size_t length) {
  refuse("a frame of " + std::to_string(length) + " bytes, more than " + std::to_string(kMaxFrameBytes));
}

}  // namespace erlang_python
