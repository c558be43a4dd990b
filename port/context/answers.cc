#include "context/answers.h"

#include <algorithm>
#include <string>

namespace erlang_python {

void replace_by_too_large(TermWriter& out, std::size_t payload_start) {
  const Excess excess = out.excess(payload_start, kHeaderRoom);
  out.truncate(payload_start);
  write_too_large(out, excess);
}

void write_interruption(TermWriter& out, Interruption why, ContextCounters& counters) {
  if (why == Interruption::kStopped) return write_context_died_stopped(out);
  if (why == Interruption::kTimeout) counters.timeouts.fetch_add(1, std::memory_order_relaxed);
  write_error(out, why == Interruption::kTimeout     ? "timeout"
                   : why == Interruption::kCancelled ? "cancelled"
                                                     : "interrupted");
}

void answer_with_error(StdoutWriter& writer, const std::vector<Request>& requests, std::string_view reason) {
  for (const Request& request : requests) {
    TermWriter out;
    begin_reply(out, request.message.alias, request.message.slot);
    write_error(out, reason);
    finish_frame(out);
    writer.send(out.bytes());
  }
}

bool answer_waiting(StdoutWriter& writer, Mailbox& mailbox, Bytes alias, std::string_view reason) {
  const auto waiting = mailbox.remove_if([alias](const Request& other) {
    const Operation operation = other.message.operation;
    return (operation == Operation::kCall || operation == Operation::kEval || operation == Operation::kExec) &&
           std::ranges::equal(other.message.alias, alias);
  });
  answer_with_error(writer, waiting, reason);
  return !waiting.empty();
}

void answer_stopped(StdoutWriter& writer, const std::vector<Request>& requests) {
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
    writer.send(out.bytes());
  }
}

void refuse_nesting(StdoutWriter& writer, const Request& request, std::size_t most) {
  TermWriter out;
  begin_reply(out, request.message.alias, request.message.slot);
  out.version();
  out.tuple_header(3);
  out.atom("exception");
  out.binary("RecursionError");
  out.binary("callbacks are nested more than " + std::to_string(most) + " levels deep");
  finish_frame(out);
  writer.send(out.bytes());
}

}  // namespace erlang_python
