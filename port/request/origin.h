#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "protocol/frame.h"
#include "protocol/messages.h"
#include "python/namespace.h"
#include "python/py_ref.h"
#include "request/belonging.h"
#include "thread/current_thread.h"

namespace erlang_python {

/// A request as the threads see it that work for it, and those threads. Made when the first work leaves the request,
/// and shared with all its work, which may outlive it. With a GIL; destroyed there too, since the namespace goes with
/// it.
class Origin final : public std::enable_shared_from_this<Origin> {
 public:
  struct Facts {
    ContextId context = 0;
    std::uint64_t env = 0;
    std::uint64_t chain = 0;  ///< 0: it is in none yet
    std::uint64_t nesting = 0;
    Bytes caller;  ///< is copied
  };

  /// One for the request: when the last copy is gone, the request has ended. `above`: of the request whose thread
  /// serves this one as a guest, and which is therefore not done before; null for none.
  static std::shared_ptr<Origin> begin(const Facts& facts, std::shared_ptr<Namespace> home,
                                       std::shared_ptr<Origin> above);
  /// By begin() only.
  Origin(const Facts& facts, std::shared_ptr<Namespace> home, std::shared_ptr<Origin> above);
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;

  /// For its work: does not keep the request from ending.
  std::shared_ptr<Origin> for_work() { return weak_from_this().lock(); }

  const Facts& facts() const { return facts_; }  ///< but for the chain
  const std::shared_ptr<Namespace>& home() const { return home_; }
  /// The chain of the request, which begins with `fresh` when it is in none.
  std::uint64_t chain_or(std::uint64_t fresh);
  /// With those above it.
  Belonging belonging() const;

  /// A thread that works for it now. Lives on that thread.
  struct Worker {
    enum class Kind : std::uint8_t { kSubmitted, kThread };
    Worker(Kind of_kind, const WorkScope& of_scope);

    const Kind kind;
    const WorkScope& scope;
    const CurrentThread& thread;  ///< may do work of another request on top of this, which is not told then
    PyThreadState* const state;
    const unsigned long ident;
    WakeSlot& slot;
    std::atomic<bool> told = false;  ///< KeyboardInterrupt was set in it
  };
  /// It gets KeyboardInterrupt when the request is told to end, until leave().
  void enter(Worker& worker);
  void leave(Worker& worker);

  /// The request was told to end, so its work is, too: where it runs Python code, and where it waits for Erlang or in
  /// an event loop of ours. The thread may be any of the interpreter.
  void tell();

 private:
  void end();
  static void interrupt(Worker& worker);

  const std::vector<std::uint8_t> caller_;
  const Facts facts_;
  const std::shared_ptr<Namespace> home_;
  const std::shared_ptr<Origin> above_;
  std::atomic<std::uint64_t> chain_;

  mutable Mutex mu_;
  Belonging belonging_ GUARDED_BY(mu_);
  std::vector<Worker*> workers_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
