#include "sandbox/audit_hook.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "python/py_ref.h"

namespace erlang_python {
namespace {

constexpr auto kReplacesTheProcess = std::to_array<std::string_view>({"os.fork", "os.forkpty", "os.exec"});

constexpr auto kStrict = std::to_array<std::string_view>({
    "subprocess.Popen",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "os.kill",
    "os.killpg",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.chflags",
    "os.lockf",
    "os.utime",
    "os.setxattr",
    "os.removexattr",
    "shutil.rmtree",
    "sqlite3.connect",
    "sqlite3.enable_load_extension",
    "sqlite3.load_extension",
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.getnameinfo",
    "socket.sethostname",
    "resource.setrlimit",
    "resource.prlimit",
});

/// Modules whose only use is to call native code of one's choice.
constexpr auto kNativeCalls = std::to_array<std::string_view>({"_ctypes", "_ctypes_test", "_cffi_backend"});

template <typename List>
bool contains(const List& list, std::string_view event) {
  return std::find(list.begin(), list.end(), event) != list.end();
}

PyObject* argument(PyObject* args, Py_ssize_t position) {
  if (!PyTuple_Check(args) || PyTuple_GET_SIZE(args) <= position) return Py_None;
  return PyTuple_GET_ITEM(args, position);
}

/// A descriptor that is open already, such as those behind sys.stdout when Python starts.
bool wraps_descriptor(PyObject* args) { return PyLong_Check(argument(args, 0)); }

bool opens_for_writing(PyObject* args) {
  PyObject* mode = argument(args, 1);
  if (!PyUnicode_Check(mode)) return false;  // os.open: flags in the third element
  const char* text = PyUnicode_AsUTF8(mode);
  if (text == nullptr) {
    PyErr_Clear();
    return true;
  }
  return std::strpbrk(text, "wax+") != nullptr;
}

bool os_open_for_writing(PyObject* args) {
  if (argument(args, 1) != Py_None || !PyLong_Check(argument(args, 2))) return false;
  constexpr long kWrites = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
  const long flags = PyLong_AsLong(argument(args, 2));
  if (flags == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    return true;
  }
  return (flags & kWrites) != 0;
}

int refuse(const char* event, const char* why) {
  PyErr_Format(PyExc_PermissionError, "%s is not allowed in the Python port process: %s (pool option sandbox)", event,
               why);
  return -1;
}

int refuse_native_calls(std::string_view module) {
  // What libraries that can do without expect of a Python that has none.
  PyErr_Format(PyExc_ImportError, "%s is not allowed in the Python port process: sandbox => strict",
               std::string(module).c_str());
  return -1;
}

/// (module, file, ...): with a file when native code is about to be loaded from it.
int check_import(const Sandbox& sandbox, PyObject* args) {
  PyObject* const module = argument(args, 0);
  const char* name = PyUnicode_Check(module) ? PyUnicode_AsUTF8(module) : nullptr;
  if (name == nullptr) {
    PyErr_Clear();
  } else if (contains(kNativeCalls, name)) {
    return refuse_native_calls(name);
  }
  PyObject* const file = argument(args, 1);
  if (file == Py_None) return 0;
  auto path = PyRef::steal(PyUnicode_Check(file) ? PyUnicode_EncodeFSDefault(file) : PyObject_Bytes(file));
  if (!path) return -1;
  if (sandbox.is_importable(PyBytes_AS_STRING(path.get()))) return 0;
  return refuse("native code from outside of the paths of Python, of its environment and of the pool option paths",
                "sandbox => strict");
}

int audit(const char* event, PyObject* args, void* data) noexcept {
  // Called for every event of every interpreter: first by the letter that nearly all events do not have.
  if (std::strchr("osciprs", event[0]) == nullptr) return 0;
  const std::string_view name(event);
  if (contains(kReplacesTheProcess, name)) {
    return refuse(event,
                  "it would duplicate or replace the process that serves the pool; use subprocess, or multiprocessing "
                  "with the start method spawn");
  }
  const auto& sandbox = *static_cast<const Sandbox*>(data);
  if (sandbox.level() != SandboxLevel::kStrict) return 0;
  if (name == "import") return check_import(sandbox, args);
  if (contains(kStrict, name)) return refuse(event, "sandbox => strict");
  if (name.rfind("ctypes.", 0) == 0) return refuse_native_calls("ctypes");
  // With an address; without one the socket is connected, which only a pair can be.
  if (name == "socket.sendmsg" && argument(args, 1) != Py_None) return refuse(event, "sandbox => strict");
  if (name == "open" && !wraps_descriptor(args) && (opens_for_writing(args) || os_open_for_writing(args))) {
    return refuse("opening a file for writing", "sandbox => strict");
  }
  return 0;
}

}  // namespace

Status install_audit_hook(Sandbox& sandbox) {
  if (sandbox.level() == SandboxLevel::kOff) return {};
  if (PySys_AddAuditHook(audit, &sandbox) != 0) return Error{"cannot install the audit hook"};
  return {};
}

}  // namespace erlang_python
