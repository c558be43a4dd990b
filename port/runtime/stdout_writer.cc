#include "runtime/stdout_writer.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "runtime/leaving.h"

namespace erlang_python {

void StdoutWriter::send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, std::uint32_t slot) {
  const std::size_t payload_bytes = out.size() - payload_start;
  if (payload_bytes <= kMaxPieceBytes) {
    finish_frame(out);
    send(out.bytes());
    return;
  }
  TermWriter header;
  Bytes rest = out.bytes().subspan(payload_start);
  while (!rest.empty()) {
    const Bytes piece = rest.first(std::min(rest.size(), kMaxPieceBytes));
    rest = rest.subspan(piece.size());
    if (rest.empty()) {
      begin_reply(header, alias, slot);
    } else {
      begin_notice(header, Notice::kPiece, 1);
      header.raw(alias);
    }
    write_be32(header.data(), header.size() - kLengthBytes + piece.size());
    send(header.bytes(), piece);
  }
}

void StdoutWriter::send(Bytes first, Bytes second) {
  bool ring = false;
  {
    const std::scoped_lock lock(mu_);
    const bool was_empty = backlog_begin_ == backlog_.size();
    const std::size_t taken = was_empty ? write_some(first, second) : 0;
    const std::size_t total = first.size() + second.size();
    if (taken == total) return;
    for (Bytes part : {first, second}) {
      const std::size_t gone =
          part.data() == first.data() ? std::min(taken, first.size()) : taken - std::min(taken, first.size());
      backlog_.insert(backlog_.end(), part.begin() + static_cast<std::ptrdiff_t>(gone), part.end());
    }
    backlog_bytes_.store(backlog_.size() - backlog_begin_, std::memory_order_relaxed);
    ring = was_empty;
  }
  if (ring && bell_) bell_();
}

std::size_t StdoutWriter::write_some(Bytes first, Bytes second) {
  std::array<iovec, 2> parts{{{const_cast<std::uint8_t*>(first.data()), first.size()},
                              {const_cast<std::uint8_t*>(second.data()), second.size()}}};
  std::size_t taken = 0;
  const std::size_t total = first.size() + second.size();
  std::size_t next = 0;
  while (taken < total) {
    while (next < parts.size() && parts[next].iov_len == 0) ++next;
    const ssize_t n = writev(fd_.get(), parts.data() + next, static_cast<int>(parts.size() - next));
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      leave_at_end_of_input();  // Erlang closed the port; nobody is left to tell
    }
    taken += static_cast<std::size_t>(n);
    auto gone = static_cast<std::size_t>(n);
    for (std::size_t i = next; i < parts.size() && gone > 0; ++i) {
      const std::size_t step = std::min(gone, parts[i].iov_len);
      parts[i].iov_base = static_cast<std::uint8_t*>(parts[i].iov_base) + step;
      parts[i].iov_len -= step;
      gone -= step;
    }
  }
  return taken;
}

bool StdoutWriter::drain() {
  const std::scoped_lock lock(mu_);
  const Bytes rest{backlog_.data() + backlog_begin_, backlog_.size() - backlog_begin_};
  backlog_begin_ += write_some(rest, {});
  const bool empty = backlog_begin_ == backlog_.size();
  if (empty) {
    backlog_.clear();
    backlog_begin_ = 0;
    if (backlog_.capacity() > kHighWaterBytes) backlog_.shrink_to_fit();
  } else if (backlog_begin_ > backlog_.size() / 2) {
    backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<std::ptrdiff_t>(backlog_begin_));
    backlog_begin_ = 0;
  }
  backlog_bytes_.store(backlog_.size() - backlog_begin_, std::memory_order_relaxed);
  if (!congested()) room_.notify_all();
  return empty;
}

void StdoutWriter::wait_for_room() {
  std::unique_lock lock(mu_);
  room_.wait(lock, [this] { return !congested(); });
}

void StdoutWriter::send_from_signal_handler(Bytes frame) noexcept {
  // Not async-signal-safe by the letter; but the process is dying, nothing here waits for long or allocates, and
  // without the lock the frame could land inside another.
  constexpr int kTries = 50;
  const timespec pause{0, 1'000'000};
  bool locked = mu_.try_lock();
  for (int tries = 0; tries < kTries && !locked; ++tries) {
    nanosleep(&pause, nullptr);
    locked = mu_.try_lock();
  }
  if (!locked) return;
  for (int tries = 0; tries < kTries && backlog_begin_ < backlog_.size(); ++tries) {
    const ssize_t n = write(fd_.get(), backlog_.data() + backlog_begin_, backlog_.size() - backlog_begin_);
    if (n > 0) backlog_begin_ += static_cast<std::size_t>(n);
    if (n < 0) nanosleep(&pause, nullptr);
  }
  if (backlog_begin_ == backlog_.size()) {
    [[maybe_unused]] const ssize_t n = write(fd_.get(), frame.data(), frame.size());
  }
  mu_.unlock();
}

}  // namespace erlang_python
