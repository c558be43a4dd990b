#pragma once

#include <memory>

#include "base/mutex.h"
#include "base/result.h"
#include "callback/erlang_link.h"
#include "conversion/python_types.h"
#include "protocol/port_config.h"
#include "python/py_ref.h"
#include "sandbox/sandbox.h"

namespace erlang_python {

/// True when a subinterpreter with its own GIL can be used by this CPython (3.13 and later).
bool owngil_supported();

/// True when a subinterpreter can be ended without a crash (3.14 and later). Below, `Py_EndInterpreter` aborts after
/// datetime or sqlite3 were imported in several interpreters ("free(): invalid pointer"; measured
/// with 3.13.0, 3.13.15).
bool interpreters_can_end();

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
    Mutex& creation_mu;  ///< CPython races when two interpreters start or end at once: one at a time
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
  /// For a guest, which may outlast this. To be let go while attached.
  std::shared_ptr<const PythonTypes> shared_types() const { return types_; }
  /// Borrowed: the module `_erlang`.
  PyObject* erlang_module() const { return erlang_module_.get(); }
  /// Borrowed: erlang._health.check.
  PyObject* health_check() const { return health_check_.get(); }

  /// Attached. Makes a used owngil interpreter look new: the modules of its user are forgotten. False: it cannot be
  /// used again (threads are left in it).
  bool clean();
  /// Attached. Joins its threads for half of this time, runs its atexit functions; `for_good`: also lets go of the
  /// modules of its user and flushes files. False: threads are left in it.
  bool end(std::int64_t time_ns, bool for_good);
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
  Mutex& creation_mu_;
  PyThreadState* thread_state_;
  std::int64_t id_;
  unsigned long thread_ident_;
  std::shared_ptr<const PythonTypes> types_;
  PyRef erlang_module_;
  PyRef startup_;       ///< module erlang._startup
  PyRef ending_;        ///< module erlang._ending
  PyRef health_check_;  ///< function erlang._health.check
  bool abandoned_ = false;
};

/// Attached. Applies the pool's `paths` and `imports` (erlang._startup.prepare) and tells the sandbox where modules are
/// found. False with a Python error set.
bool prepare_interpreter(const PortConfig& config, Sandbox& sandbox);

}  // namespace erlang_python
