#include "protocol/messages.h"

#include <limits>
#include <optional>

namespace erlang_python {
namespace {

/// Fields of a request between the operation and its body, by operation.
struct Shape {
  std::size_t arity;
  bool alias;
  bool context;
  bool request;  ///< slot, timeout, env, flags, chain, caller
};

std::optional<Shape> shape_of(std::int64_t operation) {
  switch (operation) {
    case static_cast<int>(Operation::kInit):
      return Shape{2, false, false, false};
    case static_cast<int>(Operation::kCall):
      return Shape{13, true, true, true};
    case static_cast<int>(Operation::kEval):
      return Shape{11, true, true, true};
    case static_cast<int>(Operation::kExec):
      return Shape{10, true, true, true};
    case static_cast<int>(Operation::kPiece):
    case static_cast<int>(Operation::kLastPiece):
      return Shape{4, true, false, false};
    case static_cast<int>(Operation::kWithSegments):
      return Shape{5, true, false, false};
    case static_cast<int>(Operation::kResult):
      return Shape{4, false, true, false};
    case static_cast<int>(Operation::kNewContext):
      return Shape{5, true, true, false};
    case static_cast<int>(Operation::kStopContext):
      return Shape{3, true, true, false};
    case static_cast<int>(Operation::kDropEnv):
      return Shape{3, false, true, false};
    case static_cast<int>(Operation::kInterrupt):
    case static_cast<int>(Operation::kCheck):
      return Shape{3, true, true, false};
    case static_cast<int>(Operation::kCancel):
      return Shape{3, true, true, false};
    case static_cast<int>(Operation::kCredit):
      return Shape{5, true, true, false};
    case static_cast<int>(Operation::kStats):
    case static_cast<int>(Operation::kRestrict):
      return Shape{2, true, false, false};
    case static_cast<int>(Operation::kFunctions):
    case static_cast<int>(Operation::kMessagesTaken):
    case static_cast<int>(Operation::kSegmentsOpened):
    case static_cast<int>(Operation::kSegmentsRead):
    case static_cast<int>(Operation::kDiscard):
    case static_cast<int>(Operation::kEnd):
      return Shape{2, false, false, false};
    default:
      return std::nullopt;
  }
}

template <typename Number>
bool read_number(TermReader& reader, Number& out) {
  const auto value = reader.read_int64();
  if (!value || *value < 0) return false;
  if (static_cast<std::uint64_t>(*value) > std::numeric_limits<Number>::max()) return false;
  out = static_cast<Number>(*value);
  return true;
}

/// The pid of the caller, or {Pid, Owner}: copied, never interpreted here.
bool read_caller(TermReader& reader, Bytes& out) {
  const TermKind kind = reader.peek();
  if (kind != TermKind::kPid && kind != TermKind::kTuple) return false;
  const auto bytes = reader.skip();
  if (!bytes) return false;
  out = *bytes;
  return true;
}

bool read_alias(TermReader& reader, Bytes& out) {
  if (reader.peek() != TermKind::kReference) return false;
  const auto bytes = reader.skip();
  if (!bytes) return false;
  out = *bytes;
  return true;
}

}  // namespace

std::variant<Message, Malformed> parse_message(Bytes frame) {
  TermReader reader(frame);
  Malformed malformed;
  const auto refuse = [&](const char* reason) {
    malformed.reason = reason;
    return malformed;
  };
  if (!reader.read_version()) return refuse("frame without the version byte 131");
  const auto arity = reader.read_tuple_header();
  if (!arity) return refuse("frame is not a tuple");
  const auto operation = reader.read_int64();
  if (!operation) return refuse("operation is not an integer");
  const auto shape = shape_of(*operation);
  Message message;
  // The alias is read first wherever it stands, so that as many errors as possible reach the caller.
  if (shape && shape->request) {
    if (!read_number(reader, message.context)) return refuse("context is not a positive integer");
    if (!read_alias(reader, message.alias)) return refuse("alias is not a reference");
    malformed.alias = message.alias;
    if (!read_number(reader, message.slot)) return refuse("slot is not a non-negative integer");
    malformed.slot = message.slot;
    if (*arity != shape->arity) return refuse("wrong number of elements for the operation");
    if (!read_number(reader, message.timeout_ms)) return refuse("timeout is not a non-negative integer");
    if (!read_number(reader, message.env)) return refuse("env is not a non-negative integer");
    if (!read_number(reader, message.flags)) return refuse("flags is not a non-negative integer");
    if ((message.flags & ~kAllRequestFlags) != 0) return refuse("unknown flag");
    if (!read_number(reader, message.chain)) return refuse("chain is not a non-negative integer");
    if (!read_caller(reader, message.caller)) return refuse("caller is neither a pid nor a pair");
  } else {
    if (reader.peek() == TermKind::kReference && read_alias(reader, message.alias)) malformed.alias = message.alias;
    if (!shape) return refuse("unknown operation");
    if (*arity != shape->arity) return refuse("wrong number of elements for the operation");
    if (shape->alias && message.alias.empty()) return refuse("alias is not a reference");
    if (!shape->alias && !message.alias.empty()) return refuse("alias where none belongs");
    if (shape->context && !read_number(reader, message.context)) return refuse("context is not a positive integer");
    if (*operation == static_cast<int>(Operation::kDropEnv) && !read_number(reader, message.env)) {
      return refuse("env is not a non-negative integer");
    }
    if (*operation == static_cast<int>(Operation::kResult) && !read_number(reader, message.callback)) {
      return refuse("callback is not a non-negative integer");
    }
    const bool part = *operation == static_cast<int>(Operation::kPiece) ||
                      *operation == static_cast<int>(Operation::kLastPiece) ||
                      *operation == static_cast<int>(Operation::kWithSegments);
    if (part && !read_number(reader, message.slot)) return refuse("slot is not a non-negative integer");
  }
  message.operation = static_cast<Operation>(*operation);
  message.body = reader.position();
  return message;
}

void begin_reply(TermWriter& out, Bytes alias, std::uint32_t slot) {
  begin_notice(out, Notice::kReply, 2);
  out.raw(alias);
  out.integer(slot);
}

void begin_notice(TermWriter& out, Notice notice, std::size_t further_elements) {
  out.clear();
  const std::uint8_t length[kLengthBytes] = {};
  out.raw(length);
  out.version();
  out.tuple_header(1 + further_elements);
  out.integer(static_cast<std::int64_t>(notice));
}

void write_segments(TermWriter& out, Bytes key, const PutAside& aside) {
  begin_notice(out, Notice::kSegments, 3);
  out.raw(key);
  out.integer(aside.token());
  out.list_header(aside.parts().size());
  for (const PutAside::Part& part : aside.parts()) {
    out.tuple_header(2);
    out.integer(static_cast<std::int64_t>(part.segment.offset));
    out.integer(static_cast<std::int64_t>(part.segment.bytes));
  }
  out.nil();
  finish_frame(out);
}

void finish_frame(TermWriter& out) { write_be32(out.data(), out.size() - kLengthBytes); }

void write_ok(TermWriter& out) {
  out.version();
  out.atom("ok");
}

void write_ok_atom(TermWriter& out, std::string_view atom) {
  out.version();
  out.tuple_header(2);
  out.atom("ok");
  out.atom(atom);
}

void write_error(TermWriter& out, std::string_view atom) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.atom(atom);
}

void write_error(TermWriter& out, std::string_view kind, std::string_view detail_atom) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom(kind);
  out.atom(detail_atom);
}

void write_bad_request(TermWriter& out, std::string_view reason) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom("bad_request");
  out.binary(reason);
}

void write_sandbox_unavailable(TermWriter& out, std::string_view what) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom("sandbox_unavailable");
  out.binary(what);
}

void write_unhealthy(TermWriter& out, std::string_view trouble) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(2);
  out.atom("unhealthy");
  out.binary(trouble);
}

void write_too_large(TermWriter& out, const Excess& excess) {
  out.version();
  out.tuple_header(2);
  out.atom("error");
  out.tuple_header(3);
  out.atom("too_large");
  out.integer(static_cast<std::int64_t>(excess.bytes));
  out.integer(static_cast<std::int64_t>(excess.max_bytes));
}

void write_context_died_stopped(TermWriter& out) { write_error(out, "context_died", "stopped"); }

}  // namespace erlang_python
