#pragma once

#include <memory>
#include <utility>

#include "base/mutex.h"
#include "python/leftovers.h"
#include "python/py_ref.h"
#include "python/unreachable.h"

namespace erlang_python {

/// Runs Python's collector for what is left of namespaces; one for each interpreter. Any thread, attached.
class LeftoverCollector {
 public:
  /// A namespace was let go. May run Python code.
  void take(LetGo became);

 private:
  Mutex mu_;
  Leftovers leftovers_ GUARDED_BY(mu_);
};

/// What the code of an Erlang process has for itself in a context: its globals, and the context variables that its
/// requests run with. It is there for as long as the process, or what the process has left running. Attached.
class Namespace {
 public:
  Namespace(PyRef globals, PyRef variables, LeftoverCollector& leftovers)
      : globals_(std::move(globals)), variables_(std::move(variables)), leftovers_(leftovers) {}
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
  LeftoverCollector& leftovers_;
};

}  // namespace erlang_python
