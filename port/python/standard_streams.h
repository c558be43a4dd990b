#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "python/py_ref.h"

namespace erlang_python {

/// sys.stdin, stdout and stderr of an interpreter, which its requests share: what one has put in their place is gone
/// when a request begins while no other runs. Any thread, attached.
class StandardStreams {
 public:
  /// Keeps the streams that there are, unless some are kept. False with a Python error set.
  bool keep();
  /// Keeps none: the interpreter is cleaned for another context.
  void forget();

  /// While it lives, code of a request runs.
  class Use {
   public:
    explicit Use(StandardStreams& streams) : streams_(streams) {
      if (streams_.users_.fetch_add(1) == 0) streams_.renew();
    }
    ~Use() { streams_.users_.fetch_sub(1); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    StandardStreams& streams_;
  };

 private:
  using Files = std::array<PyRef, 3>;  ///< null: there is none

 public:
  /// The use of a request that goes on in steps, between which others have their turn: what it has put in their place
  /// is there in its next step again, and nowhere else. Of one thread.
  class Steps {
   public:
    /// `in_request`: its request has a Use of its own now.
    void begin(StandardStreams& streams, bool in_request);
    /// `goes_on`: there may be another one.
    void end(StandardStreams& streams, bool goes_on);
    /// In a step: it has put something in their place.
    bool redirects(StandardStreams& streams) const;

   private:
    int depth_ = 0;  ///< a step may begin that of a task which it makes
    bool in_request_ = false;
    bool alone_ = false;           ///< no other request ran when the step began
    std::optional<Files> own_;     ///< what the last step has left in their place
    std::optional<Files> before_;  ///< in a step that begins with own_: what was there
  };

 private:
  /// Constant.
  struct Kept {
    PyRef variables;  ///< the dict of the module sys
    Files names;
    Files files;
  };
  std::shared_ptr<const Kept> kept() const {
    const MutexLock lock(mu_);
    return kept_;
  }
  void renew();
  static Files files_in(const Kept& kept);
  static bool are_there(const Kept& kept, const Files& files);
  static void put(const Kept& kept, const Files& files);

  mutable Mutex mu_;
  std::shared_ptr<const Kept> kept_ GUARDED_BY(mu_);  ///< null until keep()
  std::atomic<int> users_ = 0;
};

}  // namespace erlang_python
