#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "request/escalation.h"

namespace erlang_python {

/// A task that is late is ended by a timer of its loop. When none has come so long after, a task holds up the loop, and
/// is interrupted if it is the one.
constexpr std::int64_t kLoopMayBeLateNs = 100 * kNsPerMs;

/// What runs in a context, each on top of what waits for it, and the rules by which it is brought to its end: a value
/// without Python, threads or clock. Its events say what has happened; what is to be done about that comes back as
/// effects. Whoever holds it guards it with one lock; docs/design.md, "The request stack".
///
/// An entry is a request, or the start or the clearing up of something that runs Python code of the user too. The
/// lowest one may be the event loop of the context. What is served between the rounds of that stands *apart* on it: the
/// loop does not wait for it, but gives it a turn.
class RequestStack {
 public:
  /// The event loop that an entry runs.
  enum class Loop : std::uint8_t {
    kNone,
    kOwn,      ///< for its one coroutine or stream: it waits for the entries above it
    kContext,  ///< that of the context: entry 0, without an alias, and ended for the sake of its tasks only
  };

  struct Begin {
    std::string_view alias = {};   ///< empty: nobody's request, which Erlang cannot interrupt
    std::int64_t deadline_ns = 0;  ///< 0 for none
    std::uint64_t chain = 0;       ///< 0 for none yet
    bool apart = false;            ///< only directly on the loop of the context
    Loop loop = Loop::kNone;
  };

  /// How it stood with the end of an entry that has ended.
  struct Ended {
    Interruption asked = Interruption::kNone;
    bool delivered = false;  ///< KeyboardInterrupt was set in the thread, and may be there still

    /// What it may have failed for: `asked`, unless that came too late.
    Interruption why() const { return delivered ? asked : Interruption::kNone; }
  };

  struct Effect {
    enum class Kind : std::uint8_t {
      kInterrupt,  ///< the top entry is due: somebody is to call deliver() under its GIL, and wake it where it waits
      kStuck,      ///< Erlang is to know that this one does not end
    };
    Kind kind;
    std::size_t index;  ///< of the entry that is meant
  };
  using Effects = std::vector<Effect>;

  /// The step of a task that the loop of the context runs now.
  struct Step {
    Escalation& ending;
    std::int64_t deadline_ns = 0;
    bool answered = false;      ///< it is nobody's any more
    bool cancel_waits = false;  ///< a CANCEL for it waits in the mailbox
  };

  enum class Delivery : std::uint8_t {
    kNothing,    ///< nothing is due
    kLater,      ///< it imports a module
    kCalledOff,  ///< others wait for this step, but that is no fault of its own
    kRaise,      ///< KeyboardInterrupt is to be set in the thread
  };

  /// `grace_ns`: how long after its deadline a request is stuck, 0 for never.
  explicit RequestStack(std::int64_t grace_ns) : grace_ns_(grace_ns) {}

  std::size_t depth() const { return depth_; }
  /// The context's event loop is the lowest entry.
  bool on_loop() const { return depth_ > 0 && is_loop(0); }
  bool is_loop(std::size_t index) const { return entries_[index].loop == Loop::kContext; }
  bool has_loop(std::size_t index) const { return entries_[index].loop != Loop::kNone; }
  bool is_apart(std::size_t index) const { return entries_[index].apart; }
  const std::string& alias(std::size_t index) const { return entries_[index].alias; }
  const Escalation& ending(std::size_t index) const { return entries_[index].ending; }
  /// The number of entries below the lowest request: 1 on a loop.
  std::size_t ground() const { return on_loop() ? 1 : 0; }
  /// deliver() has something to do.
  bool due() const { return depth_ > 0 && top().ending.due(); }
  /// What an entry that fails of KeyboardInterrupt by itself fails for: the reason of the highest one that has one.
  Interruption reason_to_fail() const;

  // --- What the thread of the context does.

  void begin(const Begin& entry);
  /// `now_ns` matters for an entry that stands apart only.
  Ended end(std::int64_t now_ns);
  /// KeyboardInterrupt was set for the top entry, and may not have been raised yet.
  bool delivered() const {
    return depth_ > 0 && top().ending.phase() >= Phase::kDelivered && top().ending.reason() != Interruption::kNone;
  }
  /// It was taken back, since another entry is about to begin: it is due again when that has ended.
  void put_off() { top().ending.put_off(); }
  /// The top entry makes its first callback. Only a top entry may have no chain.
  void set_chain(std::uint64_t chain) { top().chain = chain; }
  /// The top entry runs its coroutine or stream in a loop of its own from now on.
  void run_own_loop(std::int64_t deadline_ns);
  /// A step of the loop waits for a callback, for the sake of a request with this deadline; 0: it goes on, or there is
  /// none.
  void step_waits(std::int64_t deadline_ns);
  /// The earliest deadline of the tasks on the loop of the context; 0 for none.
  void set_task_deadline(std::int64_t deadline_ns);
  /// The task of a request was told to end: one that has a loop of its own is left to its finally blocks.
  void task_told(std::string_view alias, std::int64_t now_ns);
  /// A task that was interrupted has ended. True: an exception may be set in the thread, and must not hit the next one.
  [[nodiscard]] bool settle();
  /// The first turn of a stream has been told to end, on top of its request: that is not told a second time.
  void share(std::string_view alias, const Escalation& ending);
  /// The thread has seen a CANCEL that was left in the mailbox.
  void cancel_seen(std::string_view alias);
  /// A step of the loop at `index` is to end, after what it waits for.
  void cancel_above(std::size_t index, std::int64_t now_ns, Effects& effects);
  /// The thread waits, and raises KeyboardInterrupt by itself if that is due. Not of the loop: whether this step is
  /// meant is seen by deliver() only.
  [[nodiscard]] bool take_due();

  // --- What others want.

  /// False: there is no request to interrupt.
  bool interrupt(std::int64_t now_ns, Effects& effects);
  /// False: no task runs; the loop runs something.
  bool interrupt_loop(bool executing, std::int64_t now_ns, Effects& effects);
  /// True: not for this stack alone. A loop, or whoever comes to the request, is to find the CANCEL in the mailbox.
  [[nodiscard]] bool cancel(std::string_view alias, std::int64_t now_ns, Effects& effects);
  void stop(std::int64_t now_ns, Effects& effects);
  /// `executing`: the thread is not asleep in the loop of the context.
  void tick(bool executing, std::int64_t now_ns, Effects& effects);
  /// Under the GIL of the thread. `step`: null when the loop runs none.
  [[nodiscard]] Delivery deliver(bool importing, const Step* step, std::int64_t now_ns);

 private:
  struct Entry {
    std::string alias;
    std::uint64_t chain = 0;
    std::int64_t deadline_ns = 0;
    std::int64_t cancel_ns = 0;  ///< since when a CANCEL waits: for the chains above it, or for its loop to see it
    std::int64_t import_ns = 0;  ///< since when an interrupt waits for the end of an import
    bool apart = false;
    Loop loop = Loop::kNone;
    Escalation ending;
  };

  Entry& top() { return entries_[depth_ - 1]; }
  const Entry& top() const { return entries_[depth_ - 1]; }
  /// Where what runs now begins: what is below only gives it a turn.
  std::size_t running_from() const { return depth_ > 1 && entries_[1].apart ? 1 : 0; }
  /// Requests of other callers, which the end of this one is no reason to end. Chains do not get newer towards the top.
  bool has_another_chain_above(std::size_t index) const;
  /// Asks the entry at `index` and those above it that it waits for: they end one after the other.
  void interrupt_from(std::size_t index, Interruption why, std::int64_t now_ns, Effects& effects);
  /// The same for a CANCEL, which is no reason to end what others have asked for.
  void cancel_from(std::size_t index, std::int64_t now_ns, Effects& effects);
  void watch(std::size_t index, std::int64_t now_ns, Effects& effects);
  void watch_loop_cancel(bool executing, std::int64_t now_ns, Effects& effects);
  bool cancel_is_overdue(const Entry& entry, std::int64_t now_ns) const;
  bool waits_for_import(Entry& entry, bool importing, std::int64_t now_ns) const;
  Interruption reason_of(const Step& step, std::int64_t now_ns) const;

  const std::int64_t grace_ns_;
  std::vector<Entry> entries_;  ///< the first depth_ are in use: the others keep their memory
  std::size_t depth_ = 0;

  // Of the context's loop.
  std::int64_t resumed_ns_ = 0;        ///< when it last went on after an entry apart, or was found not to be at fault
  std::int64_t step_deadline_ns_ = 0;  ///< of the step that waits for the entries above
};

}  // namespace erlang_python
