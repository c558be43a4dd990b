#pragma once

#include <memory>
#include <mutex>

#include "base/result.h"
#include "etf/python_types.h"
#include "protocol/port_config.h"
#include "python/erlang_link.h"
#include "python/py_ref.h"

namespace erlang_python {

enum class Mode : std::uint8_t { kWorker = 0, kOwnGil = 1 };

/// A thread's place in an interpreter: in the main one (worker) or in a subinterpreter of its own (owngil). Made, used
/// and closed on one and the same thread; detached, except between attach() and detach().
class Interpreter {
 public:
  struct Options {
    Mode mode;
    ContextId context;  ///< for output of threads that Python starts itself
    const PortConfig& config;
    const ErlangLink& link;
    std::mutex& creation_mu;  ///< CPython races when two interpreters start or end at once: one at a time
  };

  static Result<std::unique_ptr<Interpreter>> open(const Options& options);
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  /// Ends the subinterpreter, where that is possible (interpreters_can_end()) and it was not abandoned, and the thread
  /// state.
  ~Interpreter();

  void attach() { PyEval_RestoreThread(thread_state_); }
  void detach() { PyEval_SaveThread(); }

  Mode mode() const { return mode_; }
  PyThreadState* thread_state() const { return thread_state_; }
  PyInterpreterState* state() const { return PyThreadState_GetInterpreter(thread_state_); }
  /// CPython's number of the interpreter; 0 is the main one.
  std::int64_t id() const { return id_; }
  /// For PyThreadState_SetAsyncExc.
  unsigned long thread_ident() const { return thread_ident_; }
  const PythonTypes& types() const { return *types_; }

  /// Attached. Makes a used owngil interpreter look new: the modules of its user are forgotten. False: it cannot be
  /// used again (threads are left in it).
  bool clean();
  /// Threads are left in it: it is not ended, ever.
  void abandon() { abandoned_ = true; }
  /// Attached. The thread and the interpreter belong to this context from now on; 0: to none.
  void assign_to(ContextId context);

 private:
  Interpreter(const Options& options, PyThreadState* thread_state);
  /// Attached. Binds `_erlang`, imports the package `erlang`. False with a Python error set.
  bool load_package();
  void discard();

  const Mode mode_;
  const PortConfig& config_;
  const ErlangLink& link_;
  std::mutex& creation_mu_;
  PyThreadState* thread_state_;
  std::int64_t id_;
  unsigned long thread_ident_;
  std::unique_ptr<PythonTypes> types_;
  PyRef startup_;  ///< module erlang._startup
  bool abandoned_ = false;
};

/// Attached. Applies the pool's `paths` and `imports` (erlang._startup.prepare). False with a Python error set.
bool prepare_interpreter(const PortConfig& config);

}  // namespace erlang_python
