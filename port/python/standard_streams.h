#pragma once

#include <array>
#include <atomic>

#include "python/py_ref.h"

namespace erlang_python {

/// sys.stdin, stdout and stderr of an interpreter, which its requests share: what one has put in their place is gone
/// when a request begins while no other runs. Attached.
class StandardStreams {
 public:
  /// Keeps the streams that there are. False with a Python error set.
  bool keep();

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
  struct Stream {
    PyRef name;
    PyRef file;
  };
  void renew();

  PyRef variables_;  ///< the dict of the module sys; null until keep()
  std::array<Stream, 3> streams_;
  std::atomic<int> users_ = 0;
};

}  // namespace erlang_python
