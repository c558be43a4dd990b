#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "etf/term_writer.h"
#include "protocol/messages.h"
#include "runtime/item_batch.h"
#include "runtime/message_batch.h"
#include "runtime/reply_batch.h"

namespace erlang_python {

/// Writes frames to Erlang. Any thread sends; what the pipe does not take at once is kept, in order, and drained by the
/// loop thread, and is lost when Erlang is gone. When code in the process has closed the pipe, it ends the process.
class StdoutWriter {
 public:
  explicit StdoutWriter(UniqueFd fd) : fd_(std::move(fd)) {}
  StdoutWriter(const StdoutWriter&) = delete;
  StdoutWriter& operator=(const StdoutWriter&) = delete;

  int fd() const { return fd_.get(); }

  /// Called, by any thread, when something was left for drain(). Set before the first send from another thread.
  void set_backlog_bell(std::function<void()> bell) { bell_ = std::move(bell); }

  /// Sends a finished frame, its length in front.
  void send(Bytes frame) { send(frame, {}); }

  /// Sends a frame that was begun in `out` and a payload that was appended from `payload_start` on. When the payload is
  /// large all but its end goes ahead in pieces, which Erlang joins by `key`, a term (the alias of a reply). What was
  /// put aside of it is announced before.
  void send_in_pieces(TermWriter& out, std::size_t payload_start, Bytes key);

  /// The same of a reply, whose alias is the key. `more`: the calling thread is about to send another one; while many
  /// come some leave together.
  void send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, bool more);
  /// Whether it matters if another one follows.
  bool joins_replies() const { return reply_rate_.is_dense(); }
  /// Loop thread, once in a millisecond while Python runs: what waits leaves.
  void tick();

  // --- Messages for Erlang processes. They leave in the order in which they were sent, and before any later frame.

  /// `etf`: {Dest, Message} with its version byte. A message after a pause leaves at once; of many in a row some
  /// hundreds go together.
  void send_message(TermWriter& etf);
  /// Replies, messages or items wait to leave with others: somebody must flush_batches() within a moment.
  bool has_batches() const { return has_batches_.load(std::memory_order_seq_cst); }
  void flush_batches();
  /// False when Erlang has yet to handle so many that the sender should wait_for_message_room(), without a GIL.
  bool has_message_room() const { return messages_on_way_.load(std::memory_order_relaxed) < kMessageWindowBytes; }
  /// Waits for a moment; true when there is room now.
  [[nodiscard]] bool wait_for_message_room();
  /// `etf`: an item of the stream of this alias, without a version byte. Leaves as messages do.
  void send_item(Bytes alias, TermWriter& etf);
  /// Erlang has handled frames of messages of this size.
  void messages_taken(std::uint64_t bytes);

  /// True when so much waits for Erlang that a sender of large values should wait_for_room(), without a GIL.
  bool congested() const { return backlog_bytes_.load(std::memory_order_relaxed) > kHighWaterBytes; }
  void wait_for_room();

  /// Loop thread: writes what it can of the backlog; true when nothing is left.
  [[nodiscard]] bool drain();

  /// For a signal handler of a dying process: sends a frame behind what waits. Gives up after some tens of
  /// milliseconds.
  void send_from_signal_handler(Bytes frame) noexcept;

 private:
  static constexpr std::size_t kHighWaterBytes = 4 * kMaxPieceBytes;

  // About 400 small messages; while they are handed on, replies wait.
  static constexpr std::size_t kBatchBytes = 16 * 1024;
  static constexpr std::int64_t kMessageWindowBytes = 4 * kMaxPieceBytes;

  void send(Bytes first, Bytes second);
  /// True: the backlog bell is to be rung, without the lock.
  [[nodiscard]] bool put(Bytes first, Bytes second) REQUIRES(mu_);
  [[nodiscard]] bool put_batches() REQUIRES(mu_);
  /// Those that have waited, and this one.
  [[nodiscard]] bool put_replies(Bytes last = {}) REQUIRES(mu_);
  [[nodiscard]] bool put_messages() REQUIRES(mu_);
  [[nodiscard]] bool put_items() REQUIRES(mu_);
  [[nodiscard]] bool put_large_message(Bytes etf, PutAside& aside) REQUIRES(mu_);
  [[nodiscard]] bool put_segments(Bytes key, PutAside& aside) REQUIRES(mu_);
  [[nodiscard]] bool put_in_pieces(Bytes frame, std::size_t payload_start, Bytes key) REQUIRES(mu_);
  [[nodiscard]] bool keep_or_put(std::size_t batch_bytes) REQUIRES(mu_);
  void batch_sent() REQUIRES(mu_);
  void ring_if(bool wanted) const EXCLUDES(mu_) {
    if (wanted && bell_) bell_();
  }
  /// Number of bytes that the pipe took.
  std::size_t write_some(Bytes first, Bytes second) REQUIRES(mu_);
  /// In a signal handler, which may have interrupted whoever holds the lock. False: it cannot be had.
  bool lock_within_a_moment() noexcept TRY_ACQUIRE(true, mu_);

  const UniqueFd fd_;
  std::function<void()> bell_;  // Constant after start.

  /// Held while a value is cut up, so that Erlang, which bounds what it keeps, has few unfinished values at a time.
  /// Other frames go between the pieces. Taken before mu_; nobody waits for anything else while holding it.
  Mutex pieces_mu_;

  Mutex mu_;
  Condition room_;
  ByteBuffer backlog_ GUARDED_BY(mu_);
  std::size_t backlog_begin_ GUARDED_BY(mu_) = 0;
  ReplyBatch replies_ GUARDED_BY(mu_);  ///< of the three two are empty
  MessageBatch messages_ GUARDED_BY(mu_);
  ItemBatch items_ GUARDED_BY(mu_);
  std::int64_t batch_sent_ns_ GUARDED_BY(mu_) = 0;  ///< when the last one left
  std::uint64_t next_message_key_ GUARDED_BY(mu_) = 0;

  std::atomic<std::size_t> backlog_bytes_ = 0;
  std::atomic<bool> has_batches_ = false;
  ReplyRate reply_rate_;
  std::atomic<std::int64_t> messages_on_way_ = 0;
};

}  // namespace erlang_python
