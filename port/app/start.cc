#include "app/start.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "app/erlang_builtin.h"
#include "erlang_python_config.h"
#include "interpreter/exception.h"
#include "interpreter/interpreter.h"
#include "loop/loop_module.h"
#include "python/py_ref.h"
#include "sandbox/audit_hook.h"

namespace erlang_python {
namespace {

std::string own_minor_version() { return std::to_string(PY_MAJOR_VERSION) + "." + std::to_string(PY_MINOR_VERSION); }

/// "3.13" of the version line of pyvenv.cfg ("version" by venv, "version_info" by virtualenv and uv).
std::string venv_minor_version(const std::string& venv) {
  std::ifstream file(venv + "/pyvenv.cfg");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("version", 0) != 0) continue;
    const auto value = line.find_first_of("0123456789", line.find('='));
    if (value == std::string::npos) continue;
    const auto first_dot = line.find('.', value);
    if (first_dot == std::string::npos) continue;
    return line.substr(value, line.find_first_not_of("0123456789", first_dot + 1) - value);
  }
  return "";
}

Result<std::string> choose_executable(const PortConfig& config) {
  if (!config.venv.empty()) {
    const std::string version = venv_minor_version(config.venv);
    if (version.empty())
      return Error{"venv " + config.venv + ": no pyvenv.cfg with a version there (pool option venv)"};
    if (version != own_minor_version()) {
      return Error{"venv " + config.venv + " is of Python " + version + ", this port program of Python " +
                   own_minor_version() + " (pool option venv)"};
    }
    return config.venv + "/bin/python";
  }
  const std::string executable = config.python.empty() ? ERLANG_PYTHON_EXECUTABLE : config.python;
  if (!config.python.empty() && access(executable.c_str(), X_OK) != 0) {
    return Error{"python " + executable + ": not an executable file (pool option python)"};
  }
  return executable;
}

Status failed(const PyStatus& status) {
  std::string message = "CPython does not start";
  if (status.err_msg != nullptr) message += std::string(": ") + status.err_msg;
  // It says only that some module of the library is missing.
  if (const char* home = std::getenv("PYTHONHOME"); home != nullptr && *home != '\0') {
    message += std::string("; it looks for its library where PYTHONHOME says, in ") + home +
               " (pool option env, or the node's environment)";
  }
  return Error{message};
}

/// sys.executable of another version would find another version's standard library.
Status check_library() {
  auto module = PyRef::steal(PyImport_ImportModule("sysconfig"));
  PyRef version;
  if (module) version = PyRef::steal(PyObject_CallMethod(module.get(), "get_python_version", nullptr));
  if (!version) return Error{describe_exception()};
  return {};
}

}  // namespace

Status start_python(const PortConfig& config, Sandbox& sandbox) {
  auto executable = choose_executable(config);
  if (!executable) return executable.error();
  register_erlang_module();
  register_loop_module();
  if (Status status = install_audit_hook(sandbox); !status) return status;

  PyPreConfig pre;
  PyPreConfig_InitPythonConfig(&pre);
  pre.utf8_mode = 1;  // a release often runs under LANG=C
  if (PyStatus status = Py_PreInitialize(&pre); PyStatus_Exception(status) != 0) return failed(status);

  PyConfig python;
  PyConfig_InitPythonConfig(&python);
  python.install_signal_handlers = 0;
  python.parse_argv = 0;
  python.faulthandler = 1;  // the Python stack of a crash goes to fd 2, and so to the log
  PyStatus status = PyConfig_SetBytesString(&python, &python.program_name, executable->c_str());
  if (PyStatus_Exception(status) == 0) {
    status = PyConfig_SetBytesString(&python, &python.executable, executable->c_str());
  }
  if (PyStatus_Exception(status) == 0) status = Py_InitializeFromConfig(&python);
  PyConfig_Clear(&python);
  if (PyStatus_Exception(status) != 0) return failed(status);
  if (Status library = check_library(); !library) return library;
  PyEval_SaveThread();
  return {};
}

void write_python_facts(TermWriter& out, const Sandbox& sandbox) {
#ifdef Py_GIL_DISABLED
  constexpr bool kFreeThreaded = true;
#else
  constexpr bool kFreeThreaded = false;
#endif
  const auto text = [&out](std::string_view key, std::string_view value) {
    out.atom(key);
    out.binary(value);
  };
  const auto flag = [&out](std::string_view key, bool value) {
    out.atom(key);
    out.atom(value ? "true" : "false");
  };
  out.map_header(7);
  out.atom("os_pid");
  out.integer(getpid());
  text("python_version", PY_VERSION);
  text("executable", ERLANG_PYTHON_EXECUTABLE);
  text("implementation", "cpython");
  flag("free_threaded", kFreeThreaded);
  flag("owngil", owngil_supported());
  out.atom("confined");
  if (!sandbox.confined().empty()) out.list_header(sandbox.confined().size());
  for (const std::string_view what : sandbox.confined()) out.atom(what);
  out.nil();
}

}  // namespace erlang_python
