#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "python/leftovers.h"
#include "python/py_ref.h"
#include "python/unreachable.h"

namespace erlang_python {

/// Runs Python's collector for what is left of namespaces; one for each interpreter. Any thread, attached.
class LeftoverCollector {
 public:
  /// What was loaded so far is no namespace. Only the first call counts.
  void open();
  /// A namespace was let go. May run Python code.
  void take(LetGo became);
  /// collect_if_due() may have something to do. Without a lock, and mostly without a look at the clock.
  bool wants_look() const {
    const std::int64_t next = next_look_ns_.load(std::memory_order_relaxed);
    return next != 0 && now_ns() >= next;
  }
  /// Some of what was left may have grown large or old meanwhile, or others have let go of it. May run Python code.
  void collect_if_due();

 private:
  Mutex mu_;
  Leftovers leftovers_ GUARDED_BY(mu_);
  std::atomic<std::int64_t> next_look_ns_ = 0;  ///< 0: nothing is left
};

/// What the code of an Erlang process has for itself in a context: its globals, and the context variables that its
/// requests run with. It is there for as long as the process, or what the process has left running. Attached.
class Namespace {
 public:
  /// `preload`: the dict that the globals are a copy of; none for the shared namespace.
  Namespace(PyRef globals, PyRef variables, PyRef preload, LeftoverCollector& leftovers)
      : globals_(std::move(globals)),
        variables_(std::move(variables)),
        preload_(std::move(preload)),
        leftovers_(leftovers) {}
  /// What somebody else can reach of it stays as it is: a function keeps its globals.
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  PyObject* globals() const { return globals_.get(); }
  /// A contextvars.Context.
  PyObject* variables() const { return variables_.get(); }

 private:
  PyRef globals_;
  PyRef variables_;
  PyRef preload_;
  LeftoverCollector& leftovers_;
};

}  // namespace erlang_python
