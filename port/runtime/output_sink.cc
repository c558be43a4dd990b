#include "runtime/output_sink.h"

#include <algorithm>

#include "base/clock.h"

namespace erlang_python {

void OutputSink::write(int fd, ContextId context, Bytes bytes) {
  bool ring = false;
  {
    const std::scoped_lock lock(mu_);
    const std::int64_t dropped_before = dropped_;
    std::string& line = lines_[{context, fd}];
    const bool was_unfinished = !line.empty();
    while (!bytes.empty()) {
      const auto newline = std::find(bytes.begin(), bytes.end(), '\n');
      const auto length = static_cast<std::size_t>(newline - bytes.begin());
      const std::size_t kept = std::min(length, kMaxLineBytes - std::min(line.size(), kMaxLineBytes));
      line.append(reinterpret_cast<const char*>(bytes.data()), kept);
      if (newline == bytes.end()) break;
      emit(fd, context, {reinterpret_cast<const std::uint8_t*>(line.data()), line.size()});
      line.clear();
      bytes = bytes.subspan(length + 1);
    }
    unfinished_.fetch_add(static_cast<int>(!line.empty()) - static_cast<int>(was_unfinished),
                          std::memory_order_relaxed);
    ring = dropped_before == 0 && dropped_ > 0;
  }
  if (ring && dropped_bell_) dropped_bell_();
}

void OutputSink::flush_unfinished(ContextId context) {
  const std::scoped_lock lock(mu_);
  for (int fd : {1, 2}) {
    const auto found = lines_.find({context, fd});
    if (found == lines_.end() || found->second.empty()) continue;
    emit(fd, context, {reinterpret_cast<const std::uint8_t*>(found->second.data()), found->second.size()});
    lines_.erase(found);
    unfinished_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void OutputSink::report_dropped() {
  const std::scoped_lock lock(mu_);
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
  if (!take_token()) {
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
