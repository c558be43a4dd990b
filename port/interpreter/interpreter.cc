#include "interpreter/interpreter.h"

#include <pythread.h>

#include "callback/erlang_module.h"
#include "interpreter/exception.h"
#include "thread/current_thread.h"

namespace erlang_python {

bool owngil_supported() { return PY_VERSION_HEX >= 0x030D0000; }

bool interpreters_can_end() { return PY_VERSION_HEX >= 0x030E0000; }

namespace {

PyThreadState* new_thread_state(PyInterpreterState* interpreter) {
  PyThreadState* state = PyThreadState_New(interpreter);
  if (state != nullptr) PyEval_RestoreThread(state);
  return state;
}

/// Attached; detaches.
void delete_current_thread_state(PyThreadState* state) {
  PyThreadState_Clear(state);
  PyThreadState_DeleteCurrent();
}

#if PY_VERSION_HEX >= 0x030D0000
/// Leaves the calling thread attached to the new interpreter.
Result<PyThreadState*> new_owngil_interpreter() {
  PyThreadState* in_main = new_thread_state(PyInterpreterState_Main());
  if (in_main == nullptr) return Error{"out of memory: no thread state"};
  PyInterpreterConfig config{};
  config.use_main_obmalloc = 0;
  config.allow_fork = 0;  // subprocess works nevertheless
  config.allow_exec = 0;
  config.allow_threads = 1;
  config.allow_daemon_threads = 1;
  config.check_multi_interp_extensions = 1;
  config.gil = PyInterpreterConfig_OWN_GIL;
  PyThreadState* created = nullptr;
  const PyStatus status = Py_NewInterpreterFromConfig(&created, &config);
  if (PyStatus_Exception(status) != 0 || created == nullptr) {
    PyThreadState_Swap(in_main);
    delete_current_thread_state(in_main);
    return Error{std::string("CPython refuses a subinterpreter") +
                 (status.err_msg != nullptr ? std::string(": ") + status.err_msg : "")};
  }
  PyEval_SaveThread();
  PyEval_RestoreThread(in_main);
  delete_current_thread_state(in_main);
  PyEval_RestoreThread(created);
  return created;
}
#endif

Result<PyThreadState*> enter(const Interpreter::Options& options) {
  if (options.mode == Mode::kWorker) {
    PyThreadState* state = new_thread_state(PyInterpreterState_Main());
    if (state == nullptr) return Error{"out of memory: no thread state"};
    return state;
  }
#if PY_VERSION_HEX >= 0x030D0000
  const MutexLock lock(options.creation_mu);
  return new_owngil_interpreter();
#else
  return Error{"mode owngil needs Python 3.13 or later"};
#endif
}

/// Puts the package's directory at the end of sys.path, once.
bool add_package_path(const std::string& path) {
  PyObject* sys_path = PySys_GetObject("path");
  if (sys_path == nullptr || !PyList_Check(sys_path)) {
    PyErr_SetString(PyExc_RuntimeError, "sys.path is not a list");
    return false;
  }
  auto text = PyRef::steal(PyUnicode_DecodeFSDefault(path.c_str()));
  if (!text) return false;
  const int present = PySequence_Contains(sys_path, text.get());
  if (present != 0) return present > 0;
  return PyList_Append(sys_path, text.get()) == 0;
}

PyRef list_of(const std::vector<std::string>& texts) {
  auto list = PyRef::steal(PyList_New(0));
  for (const std::string& text : texts) {
    auto item = PyRef::steal(PyUnicode_DecodeFSDefault(text.c_str()));
    if (!list || !item || PyList_Append(list.get(), item.get()) != 0) return {};
  }
  return list;
}

}  // namespace

Result<std::unique_ptr<Interpreter>> Interpreter::open(const Options& options) {
  auto state = enter(options);
  if (!state) return state.error();
  std::unique_ptr<Interpreter> interpreter(new Interpreter(options, *state));
  if (!interpreter->load_package()) {
    const std::string reason =
        "the Python package erlang in " + options.config.package_path + " cannot be loaded: " + describe_exception();
    interpreter->detach();
    return Error{reason};
  }
  interpreter->assign_to(options.context);
  interpreter->detach();
  return interpreter;
}

Interpreter::Interpreter(const Options& options, PyThreadState* thread_state)
    : mode_(options.mode),
      config_(options.config),
      link_(options.link),
      creation_mu_(options.creation_mu),
      thread_state_(thread_state),
      id_(PyInterpreterState_GetID(PyThreadState_GetInterpreter(thread_state))),
      thread_ident_(PyThread_get_thread_ident()) {}

bool Interpreter::load_package() {
  if (!add_package_path(config_.package_path)) return false;
  if (!bind_erlang_module(link_, 0)) return false;
  erlang_module_ = PyRef::steal(PyImport_ImportModule("_erlang"));
  startup_ = PyRef::steal(PyImport_ImportModule("erlang._startup"));
  ending_ = PyRef::steal(PyImport_ImportModule("erlang._ending"));
  if (!startup_ || !ending_) return false;
  if (!PyRef::steal(PyObject_CallMethod(ending_.get(), "adopt_thread", nullptr))) return false;
  const auto health = PyRef::steal(PyImport_ImportModule("erlang._health"));
  if (health) health_check_ = PyRef::steal(PyObject_GetAttrString(health.get(), "check"));
  if (!health_check_) return false;
  types_ = PythonTypes::load();
  return types_ != nullptr && open_erlang_module();
}

/// A list of str as texts; what else it holds is left out.
std::vector<std::string> texts_of(PyObject* list) {
  std::vector<std::string> texts;
  for (Py_ssize_t i = 0; PyList_Check(list) && i < PyList_GET_SIZE(list); ++i) {
    PyObject* const item = PyList_GET_ITEM(list, i);
    auto bytes = PyUnicode_Check(item) ? PyRef::steal(PyUnicode_EncodeFSDefault(item)) : PyRef();
    if (bytes) {
      texts.emplace_back(PyBytes_AS_STRING(bytes.get()));
    } else {
      PyErr_Clear();
    }
  }
  return texts;
}

bool prepare_interpreter(const PortConfig& config, Sandbox& sandbox) {
  auto startup = PyRef::steal(PyImport_ImportModule("erlang._startup"));
  auto paths = list_of(config.paths);
  auto imports = list_of(config.imports);
  if (!startup || !paths || !imports) return false;
  auto roots = PyRef::steal(PyObject_CallMethod(startup.get(), "prepare", "OO", paths.get(), imports.get()));
  if (!roots) return false;
  sandbox.set_import_roots(texts_of(roots.get()));
  return true;
}

bool Interpreter::clean() {
  // Those of a preload are not for the next context.
  erlang_module_state(erlang_module_.get()).streams.forget();
  auto reusable = PyRef::steal(PyObject_CallMethod(startup_.get(), "clean", nullptr));
  if (!reusable) PyErr_Clear();
  return reusable && reusable.get() == Py_True;
}

bool Interpreter::end(std::int64_t time_ns, bool for_good) {
  auto ended = PyRef::steal(PyObject_CallMethod(ending_.get(), "end", "dO", static_cast<double>(time_ns) / 1e9,
                                                for_good ? Py_True : Py_False));
  if (!ended) PyErr_WriteUnraisable(nullptr);
  return ended && ended.get() == Py_True;
}

void Interpreter::assign_to(ContextId context) {
  current_thread().context = context;
  if (mode_ == Mode::kOwnGil && !bind_erlang_module(link_, context)) PyErr_Clear();
}

void Interpreter::discard() {
  types_.reset();
  erlang_module_ = PyRef();
  startup_ = PyRef();
  ending_ = PyRef();
  health_check_ = PyRef();
}

Interpreter::~Interpreter() {
  attach();
  const bool may_end = mode_ == Mode::kOwnGil && interpreters_can_end() && !abandoned_;
  discard();
  if (may_end) {
    detach();  // whoever has the lock may need that every thread detaches
    const MutexLock lock(creation_mu_);
    attach();
    Py_EndInterpreter(thread_state_);
    return;
  }
  // A subinterpreter that may not be ended is left behind; the thread's place in it is not needed any more.
  if (mode_ == Mode::kWorker) {
    delete_current_thread_state(thread_state_);
  } else {
    PyEval_SaveThread();
  }
}

}  // namespace erlang_python
