#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "context/context.h"
#include "context/services.h"
#include "protocol/piece_assembler.h"
#include "runtime/port_loop.h"

namespace erlang_python {

/// All contexts of the port process: starts and stops them, takes frames to them, watches them.
class Contexts final : public Dispatcher, public Watched, public GuestServer {
 public:
  /// `services.dispatcher` is this object.
  explicit Contexts(Services& services) : services_(services), pieces_(services.config.max_value_bytes) {}
  Contexts(const Contexts&) = delete;
  Contexts& operator=(const Contexts&) = delete;

  // Dispatcher: whoever reads stdin.
  void dispatch(Frame frame, ContextId reader, Batch& batch) override;
  void refused_frame(std::size_t length) override;
  void input_ended(ContextId reader, Batch& batch) override;

  // GuestServer: threads that Python started.
  void serve_guest(const Request& request, const RequestScope* below) override;

  // Watched: the loop thread.
  bool busy() const override;
  void watch(std::int64_t now_ns) override;

 private:
  struct Start {
    std::shared_ptr<Context> context;
    std::string alias;
  };

  void dispatch_message(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void deliver(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void take_piece(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void take_with_segments(Frame frame, const Message& message, ContextId reader, Batch& batch);
  /// Of a frame that begins so; null where there are none.
  std::shared_ptr<ReceivedSegments> segments_of(Bytes beginning);
  void take_segments_read(const Frame& frame, const Message& message);
  void discard_segments(const Frame& frame, const Message& message);
  void take_result(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void take_functions(const Frame& frame, const Message& message);
  void take_message_credit(const Frame& frame, const Message& message);
  void new_context(const Frame& frame, const Message& message);
  void stop_context(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void cancel(Frame frame, const Message& message, ContextId reader, Batch& batch);
  void interrupt(const Message& message);
  void stats(const Message& message);
  void restrict(const Message& message);
  void watch_memory();

  void reply_bad_request(Bytes alias, std::uint32_t slot, std::string_view reason);
  void reply_no_context(const Message& message);
  void refuse(std::string_view reason);
  static void wake_later(const std::shared_ptr<Context>& context, Batch& batch) { batch.asleep.push_back(context); }

  std::shared_ptr<Context> find(ContextId id) const;
  void start(Start start);
  void serve_thread(Start start);
  /// The next owngil context for a thread whose interpreter cannot be ended and waits to be used again.
  Start wait_parked();

  // ending.cc
  /// Ends Python in order, once: all contexts, then the main interpreter, in a thread of its own.
  void end(std::int64_t time_ns, ContextId reader, Batch& batch);
  void take_end(const Frame& frame, ContextId reader, Batch& batch);
  void finish_end(std::int64_t contexts_until_ns, std::int64_t until_ns);
  void end_main_interpreter(std::int64_t until_ns);

  Services& services_;

  bool ending_ = false;  // Of the leader: whoever reads stdin.

  PieceAssembler pieces_;

  mutable Mutex mu_;
  std::map<ContextId, std::shared_ptr<Context>> contexts_ GUARDED_BY(mu_);
  std::deque<Start> for_parked_ GUARDED_BY(mu_);  ///< at most parked_ of them
  std::size_t parked_ GUARDED_BY(mu_) = 0;        ///< threads in wait_parked
  Condition parked_bell_;
  Condition gone_bell_;                       ///< a context is gone
  bool had_workers_ GUARDED_BY(mu_) = false;  ///< so the main interpreter has run code

  bool memory_reported_ = false;  // Loop thread only.
};

/// Resident bytes of this process, with those of shared memory (`segments` may be null) that only Erlang has touched
/// yet; 0 when /proc cannot be read.
std::size_t resident_bytes(const Segments* segments);

}  // namespace erlang_python
