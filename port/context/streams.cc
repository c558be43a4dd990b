// The part of Tasks that sends the items of streams, as far as there is credit. See docs/design.md, "Streams".

#include "base/clock.h"
#include "callback/erlang_module.h"
#include "context/answers.h"
#include "context/tasks.h"
#include "conversion/encode.h"
#include "segments/segments.h"

namespace erlang_python {
namespace {

// How long a stream of a synchronous generator keeps the loop before others have their turn.
constexpr std::int64_t kPumpNs = kNsPerMs;

}  // namespace

void Tasks::end_stream(Ticket& ticket) {
  if (ticket.answered) return;
  TermWriter out;
  begin_reply(out, ticket.alias_bytes(), ticket.slot);
  const std::size_t payload_start = out.size();
  write_ok(out);
  answer(ticket, out, payload_start);
}

bool Tasks::send_item(Ticket& ticket, PyObject* value) {
  TermWriter out(reply_limits(services_.config));
  out.put_large_into(services_.segments);
  if (!encode_term(value, out, encoding_of(ticket.flags, services_.config), interpreter_->types(), services_.atoms))
    return false;
  return send_encoded(ticket, out);
}

bool Tasks::send_encoded(Ticket& ticket, TermWriter& out) {
  if (out.overflowed()) {
    ticket.too_large = out.excess(0, kHeaderRoom);
    PyErr_SetString(PyExc_ValueError, "the item is too large");  // for what the generator does at its end
    return false;
  }
  const auto bytes = static_cast<std::int64_t>(out.wanted_bytes());
  services_.writer.send_item(ticket.alias_bytes(), out);
  --ticket.credit.items;
  ticket.credit.bytes -= bytes;
  if (!ticket.has_credit()) services_.writer.flush_batches();  // Erlang gives more for what it has got
  return true;
}

std::optional<Tasks::Pumped> Tasks::pump(Ticket& ticket, PyObject* iterator) {
  // A level of its own, so that the stream can be cancelled and is late by itself.
  Running turn(levels_, {ticket.alias, ticket.deadline_ns, ticket.scope.chain});
  RequestScope& scope = turn.level().scope;
  scope = ticket.scope;
  const auto home = ticket.home;  // it may be answered meanwhile
  scope.home = &home;
  const std::optional<Pumped> pumped = pump_for_a_while(ticket, iterator);
  ticket.scope.chain = scope.chain;
  if (!ticket.answered) ticket.scope.origin = scope.origin;
  const Interruption why = turn.end().asked;
  if (why == Interruption::kNone || pumped == Pumped::kEnded) return pumped;
  auto stack = interrupter_.stack();
  stack.ending(ticket).told(why, now_ns());
  // The first turn of a stream runs above its request, which is interrupted with it: a second time would hit what the
  // generator does in its finally block.
  stack->share(ticket.alias, stack.ending(ticket));
  if (pumped) PyErr_SetNone(PyExc_KeyboardInterrupt);
  return std::nullopt;
}

/// nullopt with a Python error set.
std::optional<Tasks::Pumped> Tasks::pump_for_a_while(Ticket& ticket, PyObject* iterator) {
  TermWriter out(reply_limits(services_.config));
  out.put_large_into(services_.segments);
  const std::int64_t until = now_ns() + kPumpNs;
  for (;;) {
    if (!ticket.has_credit()) return Pumped::kNoCredit;
    auto item = PyRef::steal(PyIter_Next(iterator));
    if (!item) {
      if (PyErr_Occurred() == nullptr) return Pumped::kEnded;
      return std::nullopt;
    }
    out.clear();
    if (!encode_term(item.get(), out, encoding_of(ticket.flags, services_.config), interpreter_->types(),
                     services_.atoms))
      return std::nullopt;
    if (!send_encoded(ticket, out)) return std::nullopt;
    if (now_ns() >= until) return Pumped::kMore;
  }
}

void Tasks::take_credit(const Request& request) {
  TermReader body(request.frame.bytes());
  body.rewind(request.message.body);
  const auto items = body.read_int64();
  const auto bytes = items ? body.read_int64() : std::nullopt;
  if (!bytes || *items < 0 || *bytes < 0) return;
  const auto ticket = find(view_of(request.message.alias));
  if (!ticket) return;
  ticket->credit.add({*items, *bytes});
  if (!ticket->waits_for_credit || !ticket->has_credit()) return;
  ticket->waits_for_credit = false;
  tell("credited", ticket);
}

}  // namespace erlang_python
