#include "python/sandbox.h"

#include <fcntl.h>

#include <array>
#include <cstring>
#include <string_view>

#include "python/py_ref.h"

namespace erlang_python {
namespace {

constexpr std::array<std::string_view, 3> kReplacesTheProcess = {"os.fork", "os.forkpty", "os.exec"};

constexpr std::array kStrict = {
    std::string_view("subprocess.Popen"),   std::string_view("os.system"),       std::string_view("os.posix_spawn"),
    std::string_view("os.spawn"),           std::string_view("os.startfile"),    std::string_view("os.kill"),
    std::string_view("os.remove"),          std::string_view("os.rename"),       std::string_view("os.rmdir"),
    std::string_view("os.mkdir"),           std::string_view("os.link"),         std::string_view("os.symlink"),
    std::string_view("os.truncate"),        std::string_view("os.chmod"),        std::string_view("os.chown"),
    std::string_view("os.utime"),           std::string_view("os.setxattr"),     std::string_view("os.removexattr"),
    std::string_view("shutil.rmtree"),      std::string_view("sqlite3.connect"), std::string_view("socket.connect"),
    std::string_view("socket.bind"),        std::string_view("socket.sendto"),   std::string_view("socket.sendmsg"),
    std::string_view("socket.getaddrinfo"),
};

template <typename List>
bool contains(const List& list, std::string_view event) {
  for (std::string_view entry : list) {
    if (entry == event) return true;
  }
  return false;
}

/// A descriptor that is open already, such as those behind sys.stdout when Python starts.
bool wraps_descriptor(PyObject* args) {
  return PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0 && PyLong_Check(PyTuple_GET_ITEM(args, 0));
}

bool opens_for_writing(PyObject* args) {
  if (!PyTuple_Check(args) || PyTuple_GET_SIZE(args) < 2) return false;
  PyObject* mode = PyTuple_GET_ITEM(args, 1);
  if (!PyUnicode_Check(mode)) return false;  // os.open: flags in the third element
  const char* text = PyUnicode_AsUTF8(mode);
  if (text == nullptr) {
    PyErr_Clear();
    return true;
  }
  return std::strpbrk(text, "wax+") != nullptr;
}

bool os_open_for_writing(PyObject* args) {
  if (!PyTuple_Check(args) || PyTuple_GET_SIZE(args) < 3 || PyTuple_GET_ITEM(args, 1) != Py_None) return false;
  constexpr long kWrites = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
  const long flags = PyLong_AsLong(PyTuple_GET_ITEM(args, 2));
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

int audit(const char* event, PyObject* args, void* data) {
  // Called for every event of every interpreter: first by the letter that nearly all events do not have.
  if (event[0] != 'o' && event[0] != 's' && event[0] != 'c') return 0;
  const std::string_view name(event);
  if (contains(kReplacesTheProcess, name)) {
    return refuse(event,
                  "it would duplicate or replace the process that serves the pool; use subprocess, or multiprocessing "
                  "with the start method spawn");
  }
  if (*static_cast<const Sandbox*>(data) != Sandbox::kStrict) return 0;
  if (contains(kStrict, name)) return refuse(event, "sandbox => strict");
  if (name == "ctypes.dlopen") {
    // What libraries that can do without ctypes expect of a Python that has none.
    PyErr_SetString(PyExc_ImportError, "ctypes is not allowed in the Python port process: sandbox => strict");
    return -1;
  }
  if (name == "open" && !wraps_descriptor(args) && (opens_for_writing(args) || os_open_for_writing(args))) {
    return refuse("opening a file for writing", "sandbox => strict");
  }
  return 0;
}

}  // namespace

Status install_sandbox(Sandbox level) {
  if (level == Sandbox::kOff) return {};
  static constexpr Sandbox kDefaultLevel = Sandbox::kDefault;
  static constexpr Sandbox kStrictLevel = Sandbox::kStrict;
  const Sandbox* data = level == Sandbox::kStrict ? &kStrictLevel : &kDefaultLevel;
  if (PySys_AddAuditHook(audit, const_cast<Sandbox*>(data)) != 0) return Error{"cannot install the audit hook"};
  return {};
}

}  // namespace erlang_python
