#include "runtime/stdout_writer.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "base/clock.h"
#include "runtime/leaving.h"

namespace erlang_python {
namespace {

constexpr std::chrono::milliseconds kRoomWait{20};

// In a signal handler.
constexpr int kTries = 50;
constexpr timespec kPause{0, 1'000'000};

/// Cuts the payload of a frame that is too large for one. All frames but the last are PIECE notices under `key`; the
/// last one begins as the whole frame did.
class Cut {
 public:
  Cut(Bytes frame, std::size_t payload_start, Bytes key)
      : first_head_(frame.first(payload_start)), key_(key), rest_(frame.subspan(payload_start)) {}

  /// False when there is none left.
  bool next() {
    if (last_) return false;
    last_ = rest_.size() <= kMaxPieceBytes;
    piece_ = last_ ? rest_ : rest_.first(kMaxPieceBytes);
    rest_ = rest_.subspan(piece_.size());
    if (last_) {
      head_.clear();
      head_.raw(first_head_);
    } else {
      begin_notice(head_, Notice::kPiece, 1);
      head_.raw(key_);
    }
    write_be32(head_.data(), head_.size() - kLengthBytes + piece_.size());
    return true;
  }
  Bytes head() const { return head_.bytes(); }
  Bytes piece() const { return piece_; }

 private:
  const Bytes first_head_;
  const Bytes key_;
  Bytes rest_;
  Bytes piece_;
  TermWriter head_;
  bool last_ = false;
};

}  // namespace

void StdoutWriter::send_in_pieces(TermWriter& out, std::size_t payload_start, Bytes key) {
  TermWriter segments;
  if (!out.aside().empty()) {
    write_segments(segments, key, out.aside());
    out.aside().sent();
  }
  if (out.size() - payload_start <= kMaxPieceBytes) {
    finish_frame(out);
    send(segments.bytes(), out.bytes());
    return;
  }
  const MutexLock one_value(pieces_mu_);
  if (segments.size() > 0) send(segments.bytes());
  for (Cut cut(out.bytes(), payload_start, key); cut.next();) send(cut.head(), cut.piece());
}

void StdoutWriter::send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, bool more) {
  if (out.size() > ReplyBatch::kSmallBytes || !out.aside().empty()) return send_in_pieces(out, payload_start, alias);
  finish_frame(out);
  reply_rate_.count();
  const bool waits = more && joins_replies();
  bool ring = false;
  {
    const MutexLock lock(mu_);
    ring = put_messages();
    ring = put_items() || ring;
    if (waits && replies_.keep(out.bytes())) {
      has_batches_.store(true, std::memory_order_seq_cst);
    } else {
      ring = put_replies(out.bytes()) || ring;
    }
  }
  ring_if(ring);
}

bool StdoutWriter::put_replies(Bytes last) {
  if (replies_.empty()) return !last.empty() && put(last, {});
  const bool ring = put(replies_.bytes(), last);
  replies_.clear();
  has_batches_.store(false, std::memory_order_seq_cst);
  return ring;
}

void StdoutWriter::tick() {
  reply_rate_.tick();
  if (has_batches()) flush_batches();
}

void StdoutWriter::send(Bytes first, Bytes second) {
  bool ring = false;
  {
    const MutexLock lock(mu_);
    ring = put_batches();
    ring = put(first, second) || ring;
  }
  ring_if(ring);
}

bool StdoutWriter::put(Bytes first, Bytes second) {
  const bool was_empty = backlog_begin_ == backlog_.size();
  const std::size_t taken = was_empty ? write_some(first, second) : 0;
  if (taken == first.size() + second.size()) return false;
  for (Bytes part : {first, second}) {
    const std::size_t gone =
        part.data() == first.data() ? std::min(taken, first.size()) : taken - std::min(taken, first.size());
    backlog_.append(part.subspan(gone));
  }
  backlog_bytes_.store(backlog_.size() - backlog_begin_, std::memory_order_relaxed);
  return was_empty;
}

void StdoutWriter::send_message(TermWriter& message) {
  const Bytes etf = message.bytes();
  bool ring = false;
  {
    const MutexLock lock(mu_);
    ring = put_replies();
    ring = put_items() || ring;
    if (etf.size() > kMaxPieceBytes || !message.aside().empty()) {
      ring = put_messages() || ring;
      ring = put_large_message(etf, message.aside()) || ring;
    } else {
      messages_.add(etf);
      ring = keep_or_put(messages_.size()) || ring;
    }
  }
  ring_if(ring);
}

void StdoutWriter::send_item(Bytes alias, TermWriter& item) {
  const Bytes etf = item.bytes();
  bool ring = false;
  {
    const MutexLock lock(mu_);
    ring = put_replies();
    ring = put_messages() || ring;
    const bool alone = !item.aside().empty();
    if (alone || !items_.belongs_to(alias)) ring = put_items() || ring;
    if (alone) ring = put_segments(alias, item.aside()) || ring;
    items_.add(alias, etf);
    ring = (alone ? put_items() : keep_or_put(items_.size())) || ring;
  }
  ring_if(ring);
}

bool StdoutWriter::keep_or_put(std::size_t batch_bytes) {
  has_batches_.store(true, std::memory_order_seq_cst);
  if (batch_bytes < kBatchBytes && now_ns() - batch_sent_ns_ <= kNsPerMs) return false;
  return put_batches();
}

bool StdoutWriter::put_batches() {
  bool ring = put_replies();
  ring = put_messages() || ring;
  return put_items() || ring;
}

bool StdoutWriter::put_messages() {
  if (messages_.empty()) return false;
  const Bytes frame = messages_.finish();
  messages_on_way_.fetch_add(static_cast<std::int64_t>(frame.size() - kLengthBytes), std::memory_order_relaxed);
  const bool ring = put(frame, {});
  messages_.clear();
  batch_sent();
  return ring;
}

bool StdoutWriter::put_items() {
  if (items_.empty()) return false;
  std::size_t payload_start = 0;
  const Bytes frame = items_.finish(payload_start);
  const bool ring = put_in_pieces(frame, payload_start, items_.alias());
  items_.clear();
  batch_sent();
  return ring;
}

void StdoutWriter::batch_sent() {
  batch_sent_ns_ = now_ns();
  has_batches_.store(false, std::memory_order_seq_cst);
}

bool StdoutWriter::put_in_pieces(Bytes frame, std::size_t payload_start, Bytes key) {
  if (frame.size() - payload_start <= kMaxPieceBytes) return put(frame, {});
  bool ring = false;
  for (Cut cut(frame, payload_start, key); cut.next();) ring = put(cut.head(), cut.piece()) || ring;
  return ring;
}

bool StdoutWriter::put_segments(Bytes key, PutAside& aside) {
  TermWriter notice;
  write_segments(notice, key, aside);
  aside.sent();
  return put(notice.bytes(), {});
}

bool StdoutWriter::put_large_message(Bytes etf, PutAside& aside) {
  TermWriter key;
  key.integer(-static_cast<std::int64_t>(++next_message_key_));  // callbacks have the positive ones
  bool ring = false;
  if (!aside.empty()) {
    messages_on_way_.fetch_add(static_cast<std::int64_t>(aside.bytes()), std::memory_order_relaxed);
    ring = put_segments(key.bytes(), aside);
  }
  while (!etf.empty()) {
    const Bytes piece = etf.first(std::min(etf.size(), kMaxPieceBytes));
    etf = etf.subspan(piece.size());
    TermWriter header;
    begin_notice(header, etf.empty() ? Notice::kLargeMessage : Notice::kPiece, 1);
    header.raw(key.bytes());
    const std::size_t bytes = header.size() - kLengthBytes + piece.size();
    write_be32(header.data(), bytes);
    if (etf.empty()) messages_on_way_.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
    ring = put(header.bytes(), piece) || ring;
  }
  return ring;
}

void StdoutWriter::flush_batches() {
  bool ring = false;
  {
    const MutexLock lock(mu_);
    ring = put_batches();
  }
  ring_if(ring);
}

bool StdoutWriter::wait_for_message_room() {
  const MutexLock lock(mu_);
  if (!has_message_room() || congested()) room_.wait_for(mu_, kRoomWait);
  return has_message_room() && !congested();
}

void StdoutWriter::messages_taken(std::uint64_t bytes) {
  {
    const MutexLock lock(mu_);
    messages_on_way_.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
  }
  room_.notify_all();
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
      if (errno != EPIPE) leave_without_pipes();
      return total;  // Erlang has closed the port, as whoever reads will see; nobody is left to tell
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
  const MutexLock lock(mu_);
  backlog_begin_ += write_some(backlog_.bytes().subspan(backlog_begin_), {});
  const bool empty = backlog_begin_ == backlog_.size();
  if (empty) {
    backlog_.truncate(0);
    backlog_begin_ = 0;
    backlog_.shrink(kHighWaterBytes);
  } else if (backlog_begin_ > backlog_.size() / 2) {
    backlog_.drop_front(backlog_begin_);
    backlog_begin_ = 0;
  }
  backlog_bytes_.store(backlog_.size() - backlog_begin_, std::memory_order_relaxed);
  if (!congested()) room_.notify_all();
  return empty;
}

void StdoutWriter::wait_for_room() {
  const MutexLock lock(mu_);
  while (congested()) room_.wait(mu_);
}

bool StdoutWriter::lock_within_a_moment() noexcept {
  for (int tries = 0; tries < kTries; ++tries) {
    if (mu_.try_lock()) return true;
    nanosleep(&kPause, nullptr);
  }
  return false;
}

void StdoutWriter::send_from_signal_handler(Bytes frame) noexcept {
  // Not async-signal-safe by the letter; but the process is dying, nothing here waits for long or allocates, and
  // without the lock the frame could land inside another.
  if (!lock_within_a_moment()) return;
  for (int tries = 0; tries < kTries && backlog_begin_ < backlog_.size(); ++tries) {
    const ssize_t n = write(fd_.get(), backlog_.data() + backlog_begin_, backlog_.size() - backlog_begin_);
    if (n > 0) backlog_begin_ += static_cast<std::size_t>(n);
    if (n < 0) nanosleep(&kPause, nullptr);
  }
  if (backlog_begin_ == backlog_.size()) {
    [[maybe_unused]] ssize_t n = write(fd_.get(), replies_.bytes().data(), replies_.bytes().size());
    n = write(fd_.get(), frame.data(), frame.size());
  }
  mu_.unlock();
}

}  // namespace erlang_python
