#pragma once

#include <string>
#include <unordered_set>

#include "base/mutex.h"
#include "conversion/encode.h"
#include "runtime/stdout_writer.h"

namespace erlang_python {

/// Tells Erlang, once, of each atom that Python makes. Any thread.
class AnnouncedAtoms final : public AtomAnnouncer {
 public:
  explicit AnnouncedAtoms(StdoutWriter& writer) : writer_(writer) {}

  void announce(std::string_view utf8_name) override {
    const MutexLock lock(mu_);
    // Python may make any number of names. Erlang admits a bounded one, so forgetting costs a repeated notice at most.
    if (names_.size() >= kMaxNames) names_.clear();
    if (!names_.emplace(utf8_name).second) return;
    TermWriter frame;
    begin_notice(frame, Notice::kAtoms, 1);
    frame.list_header(1);
    frame.binary(utf8_name);
    frame.nil();
    finish_frame(frame);
    writer_.send(frame.bytes());  // under the lock: nobody may use the atom before Erlang has heard of it
  }

 private:
  static constexpr std::size_t kMaxNames = 10'000;

  StdoutWriter& writer_;
  Mutex mu_;
  std::unordered_set<std::string> names_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
