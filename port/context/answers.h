#pragma once

#include <string_view>
#include <vector>

#include "context/counters.h"
#include "context/mailbox.h"
#include "conversion/encode.h"
#include "etf/term_writer.h"
#include "protocol/port_config.h"
#include "request/escalation.h"
#include "runtime/stdout_writer.h"

namespace erlang_python {

// What requests are answered with that have no value. No GIL needed.

/// The header of a reply comes on top of the value; so does the error that replaces a value that is too large.
constexpr std::size_t kHeaderRoom = 4096;
inline TermLimits reply_limits(const PortConfig& config) { return config.term_limits(kHeaderRoom); }

/// How the value of an answer is written: as its request asks, otherwise as the pool does.
inline EncodeOptions encoding_of(std::uint32_t flags, const PortConfig& config) {
  const std::string_view none = kNoneAtoms[(flags & kNoneAsBits) / kNoneAs];
  return {(flags & kStrict) != 0, (flags & kBuffer) != 0, none.empty() ? config.none_as : none};
}

void replace_by_too_large(TermWriter& out, std::size_t payload_start);
void write_interruption(TermWriter& out, Interruption why, ContextCounters& counters);

void answer_with_error(StdoutWriter& writer, const std::vector<Request>& requests, std::string_view reason);
/// Takes a request out of the mailbox and answers it with an error. False: there is none of that alias.
bool answer_waiting(StdoutWriter& writer, Mailbox& mailbox, Bytes alias, std::string_view reason);
/// For all that wait in a context that stops.
void answer_stopped(StdoutWriter& writer, const std::vector<Request>& requests);
void refuse_nesting(StdoutWriter& writer, const Request& request, std::size_t most);

}  // namespace erlang_python
