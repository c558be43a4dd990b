#include "callback/destinations.h"

#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "protocol/messages.h"
#include "thread/current_thread.h"

namespace erlang_python {
namespace {

constexpr std::int64_t kTrustNs = 10 * kNsPerMs;
constexpr std::size_t kMaxDestinations = 1000;

struct Checked {
  std::uint64_t request;
  std::int64_t ns;
};
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

thread_local std::unordered_map<std::string, Checked, TextHash, std::equal_to<>> destinations;

}  // namespace

bool destination_checked(Bytes etf, std::int64_t now_ns) {
  const auto found = destinations.find(view_of(etf));
  return found != destinations.end() && found->second.request == current_thread().request_number &&
         now_ns - found->second.ns < kTrustNs;
}

void remember_destination(Bytes etf, std::int64_t now_ns) {
  if (destinations.size() >= kMaxDestinations) destinations.clear();
  destinations.insert_or_assign(text_of(etf), Checked{current_thread().request_number, now_ns});
}

void forget_checked_destinations() { ++current_thread().request_number; }

}  // namespace erlang_python
