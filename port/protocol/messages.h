#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "etf/term_reader.h"
#include "etf/term_writer.h"
#include "protocol/frame.h"

namespace erlang_python {

/// First element of a frame from Erlang. Mirrored by erlang_src/py_protocol.hrl and docs/protocol.md.
enum class Operation : std::uint8_t {
  kInit = 0,
  kCall = 1,
  kEval = 2,
  kExec = 3,
  kPiece = 4,
  kLastPiece = 5,
  kResult = 6,
  kNewContext = 10,
  kStopContext = 11,
  kDropEnv = 12,
  kInterrupt = 13,
  kStats = 14,
  kFunctions = 15,
  kMessagesTaken = 16,
  kCancel = 17,
  kCredit = 18,
  kCheck = 19,
  kRestrict = 20,
  kSegmentsOpened = 21,
  kWithSegments = 22,
  kSegmentsRead = 23,
  kDiscard = 24,
  kEnd = 25,
};

/// First element of the header of a frame to Erlang.
enum class Notice : std::uint8_t {
  kReply = 1,
  kPiece = 2,
  kReady = 3,
  kFatal = 4,
  kOutput = 5,
  kOutputDropped = 6,
  kStuck = 7,
  kMemoryLimit = 8,
  kAtoms = 9,
  kRefused = 10,
  kCallback = 11,
  kMessages = 12,
  kAbandoned = 13,
  kLargeMessage = 14,
  kStarted = 15,
  kItems = 16,
  kSegmentFile = 17,
  kSegments = 18,
  kSegmentsFree = 19,
  kEnded = 20,
};

enum RequestFlag : std::uint32_t {
  kTraceback = 1,
  kStrict = 2,
  kBuffer = 4,
  kTask = 8,     ///< a value that is awaitable is awaited on the context's event loop
  kNoneAs = 16,  ///< two bits: what None is in the answer, an index of kNoneAtoms, 0 for the pool's choice
  kStream = 64,  ///< the value is iterated
};
constexpr std::uint32_t kNoneAsBits = 3 * kNoneAs;
constexpr std::uint32_t kAllRequestFlags = kTraceback | kStrict | kBuffer | kTask | kNoneAsBits | kStream;

/// The atoms that None may be.
constexpr std::array<std::string_view, 4> kNoneAtoms = {"", "none", "nil", "undefined"};

/// What a stream may send before it gets credit.
constexpr std::int64_t kFirstCreditItems = 1000;
constexpr std::int64_t kFirstCreditBytes = 1024 * 1024;

using ContextId = std::uint32_t;

/// Environments that are no process's own: the caller has none, and the shared namespace of the context.
constexpr std::uint64_t kNoEnv = 0;
constexpr std::uint64_t kSharedEnv = 1;

/// What the reader needs to know of a frame; fields that an operation does not have stay 0.
struct Message {
  Operation operation = Operation::kInit;
  Bytes alias;  ///< the ETF of the reply address, without a version byte; empty when there is none
  ContextId context = 0;
  std::uint32_t slot = 0;
  std::uint64_t timeout_ms = 0;
  std::uint64_t env = 0;
  std::uint32_t flags = 0;
  std::uint64_t chain = 0;     ///< the call chain that a request is nested in; 0: it begins one
  Bytes caller;                ///< the ETF of the calling process's pid, or of {Pid, Owner} in a chain
  std::uint64_t callback = 0;  ///< of a RESULT: the number of the callback that it answers
  std::size_t body = 0;        ///< position in the frame of the first term after the header fields
};

/// Why a frame was refused, with the alias and slot when they could be read, so that the caller can be told.
struct Malformed {
  std::string reason;
  Bytes alias;
  std::uint32_t slot = 0;
};

/// Reads the header fields. Views point into `frame`. Does not look at the body.
std::variant<Message, Malformed> parse_message(Bytes frame);

/// Begins a frame: room for the length, then the version byte and the header of a notice. finish_frame() sets the
/// length.
void begin_reply(TermWriter& out, Bytes alias, std::uint32_t slot);
void begin_notice(TermWriter& out, Notice notice, std::size_t further_elements);
void finish_frame(TermWriter& out);
/// A whole frame: what was put aside of a value that follows, which Erlang knows by `key`.
void write_segments(TermWriter& out, Bytes key, const PutAside& aside);

/// Payloads of docs/protocol.md, each with its version byte.
void write_ok(TermWriter& out);
void write_ok_atom(TermWriter& out, std::string_view atom);                              ///< {ok, Atom}
void write_error(TermWriter& out, std::string_view atom);                                ///< {error, Atom}
void write_error(TermWriter& out, std::string_view kind, std::string_view detail_atom);  ///< {error, {Kind, Detail}}
void write_bad_request(TermWriter& out, std::string_view reason);        ///< {error, {bad_request, Text}}
void write_sandbox_unavailable(TermWriter& out, std::string_view what);  ///< {error, {sandbox_unavailable, Text}}
void write_unhealthy(TermWriter& out, std::string_view trouble);         ///< {error, {unhealthy, Text}}
void write_too_large(TermWriter& out, const Excess& excess);
void write_context_died_stopped(TermWriter& out);  ///< {error, {context_died, stopped}}

}  // namespace erlang_python
