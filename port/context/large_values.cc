// The part of Contexts that takes frames about shared memory. See docs/design.md, "Large values".

#include <optional>
#include <vector>

#include "context/contexts.h"
#include "segments/segments.h"

namespace erlang_python {
namespace {

std::optional<std::uint64_t> read_offset(TermReader& reader) {
  const auto number = reader.read_int64();
  return number && *number >= 0 ? std::optional(static_cast<std::uint64_t>(*number)) : std::nullopt;
}

std::optional<Segment> read_segment(TermReader& reader) {
  if (reader.read_tuple_header() != std::size_t{2}) return std::nullopt;
  const auto offset = read_offset(reader);
  const auto bytes = offset ? read_offset(reader) : std::nullopt;
  return bytes ? std::optional(Segment{*offset, *bytes}) : std::nullopt;
}

template <typename Read>
auto read_list(TermReader& reader, Read read) {
  std::vector<typename decltype(read(reader))::value_type> all;
  const auto count = reader.read_list_header();
  for (std::size_t i = 0; count && i < *count; ++i) {
    const auto element = read(reader);
    if (!element) return std::optional<decltype(all)>();
    all.push_back(*element);
  }
  const bool whole = count && (*count == 0 || reader.read_nil());
  return whole ? std::optional(std::move(all)) : std::nullopt;
}

}  // namespace

std::shared_ptr<ReceivedSegments> Contexts::segments_of(Bytes beginning) {
  const auto parsed = parse_message(beginning);
  const auto* message = std::get_if<Message>(&parsed);
  if (message == nullptr || message->operation != Operation::kWithSegments || services_.segments == nullptr)
    return nullptr;
  TermReader body(beginning);
  body.rewind(message->body);
  const auto all = read_list(body, read_segment);
  if (!all) return nullptr;
  auto segments = services_.segments->receive(message->alias, *all);
  return segments ? std::move(*segments) : nullptr;
}

void Contexts::take_with_segments(Frame frame, const Message& message, ContextId reader, Batch& batch) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto all = read_list(body, read_segment);
  const auto inner = all ? body.read_binary() : std::nullopt;
  if (!inner || services_.segments == nullptr) {
    return reply_bad_request(message.alias, message.slot, "malformed segments");
  }
  Frame whole = Frame::copy_of(*inner);
  if (auto kept = frame.take_segments()) {
    whole.set_segments(std::move(kept));
  } else {
    auto segments = services_.segments->receive(message.alias, *all);
    if (!segments) return reply_bad_request(message.alias, message.slot, segments.error().message);
    whole.set_segments(std::move(*segments));
  }
  const auto parsed = parse_message(whole.bytes());
  if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
    return reply_bad_request(message.alias, message.slot, malformed->reason);
  }
  const auto& request = std::get<Message>(parsed);
  switch (request.operation) {
    case Operation::kCall:
    case Operation::kEval:
    case Operation::kExec:
    case Operation::kResult:
      return dispatch_message(std::move(whole), request, reader, batch);
    default:
      return reply_bad_request(message.alias, message.slot, "segments of a frame that has no values");
  }
}

void Contexts::take_segments_read(const Frame& frame, const Message& message) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto offsets = read_list(body, read_offset);
  if (!offsets || services_.segments == nullptr) return refuse("malformed SEGMENTS_READ");
  services_.segments->read_by_erlang(*offsets);
}

void Contexts::discard_segments(const Frame& frame, const Message& message) {
  TermReader body(frame.bytes());
  body.rewind(message.body);
  const auto all = read_list(body, read_segment);
  if (!all || services_.segments == nullptr) return refuse("malformed DISCARD");
  std::vector<std::uint64_t> offsets;
  for (const Segment& segment : *all) {
    if (!services_.segments->discard(segment)) return refuse("DISCARD outside of Erlang's part of the file");
    offsets.push_back(segment.offset);
  }
  services_.segments->give_back(offsets);
}

}  // namespace erlang_python
