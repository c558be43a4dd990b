#pragma once

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
};

enum RequestFlag : std::uint32_t {
  kTraceback = 1,
  kStrict = 2,
  kBuffer = 4,
  kTask = 8,     ///< a value that is awaitable is awaited on the context's event loop
  kStream = 16,  ///< the value is iterated
};
constexpr std::uint32_t kAllRequestFlags = kTraceback | kStrict | kBuffer | kTask | kStream;

using ContextId = std::uint32_t;

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

/// The bytes of an alias as a key.
inline std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

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

/// Payloads of docs/protocol.md, each with its version byte.
void write_ok(TermWriter& out);
void write_ok_atom(TermWriter& out, std::string_view atom);                              ///< {ok, Atom}
void write_error(TermWriter& out, std::string_view atom);                                ///< {error, Atom}
void write_error(TermWriter& out, std::string_view kind, std::string_view detail_atom);  ///< {error, {Kind, Detail}}
void write_bad_request(TermWriter& out, std::string_view reason);  ///< {error, {bad_request, Text}}
void write_too_large(TermWriter& out, std::size_t bytes, std::size_t max_bytes);
void write_context_died_stopped(TermWriter& out);  ///< {error, {context_died, stopped}}

}  // namespace erlang_python
