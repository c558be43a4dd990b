#include "runtime/output_sink.h"

#include <algorithm>

#include "base/clock.h"

namespace erlang_python {

void OutputSink::write(int fd, ContextId context, Bytes bytes) {
  bool ring = false;
  {
    const MutexLock lock(mu_);
    const std::int64_t dropped_before = dropped_;
    const auto entry = lines_.try_emplace({context, fd}).first;
    std::string& line = entry->second;
    const bool was_unfinished = !line.empty();
    while (!bytes.empty()) {
      const auto newline = std::find(bytes.begin(), bytes.end(), '\n');
      const auto length = static_cast<std::size_t>(newline - bytes.begin());
      const std::size_t kept = std::min(length, kMaxLineBytes - std::min(line.size(), kMaxLineBytes));
      line.append(reinterpret_cast<const char*>(bytes.data()), kept);
      if (newline == bytes.end()) break;
      emit(fd, context, bytes_of(line));
      line.clear();
      bytes = bytes.subspan(length + 1);
    }
    const bool is_unfinished = !line.empty();
    if (!is_unfinished) lines_.erase(entry);
    if (context != 0) {
      unfinished_.fetch_add(static_cast<int>(is_unfinished) - static_cast<int>(was_unfinished),
                            std::memory_order_relaxed);
    }
    ring = (dropped_before == 0 && dropped_ > 0) || (context == 0 && is_unfinished && !was_unfinished);
  }
  if (ring && tend_bell_) tend_bell_();
}

void OutputSink::flush_unfinished(ContextId context) {
  const MutexLock lock(mu_);
  send_unfinished(context);
}

void OutputSink::send_unfinished(ContextId context) {
  for (int fd : {1, 2}) {
    const auto found = lines_.find({context, fd});
    if (found == lines_.end()) continue;
    emit(fd, context, bytes_of(found->second));
    lines_.erase(found);
    if (context != 0) unfinished_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void OutputSink::tend() {
  const MutexLock lock(mu_);
  send_unfinished(0);
  if (dropped_ > 0) send_dropped();
}

bool OutputSink::take_token() {
  const std::int64_t now = now_ns();
  const std::int64_t earned = (now - refilled_ns_) * kLinesPerSecond / 1'000'000'000;
  if (earned > 0) {
    tokens_ = std::min(kBurstLines, tokens_ + earned);
    refilled_ns_ = now;
  }
  if (tokens_ == 0) return false;
  --tokens_;
  return true;
}

void OutputSink::emit(int fd, ContextId context, Bytes line) {
  // When Erlang does not read, replies wait for room; output must not, so it is dropped.
  if (writer_.congested() || !take_token()) {
    ++dropped_;
    return;
  }
  if (dropped_ > 0) send_dropped();
  begin_notice(frame_, Notice::kOutput, 3);
  frame_.integer(fd);
  frame_.integer(context);
  frame_.binary(line);
  finish_frame(frame_);
  writer_.send(frame_.bytes());
}

void OutputSink::send_dropped() {
  begin_notice(frame_, Notice::kOutputDropped, 1);
  frame_.integer(dropped_);
  finish_frame(frame_);
  writer_.send(frame_.bytes());
  dropped_ = 0;
}

}  // namespace erlang_python
