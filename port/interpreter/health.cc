#include "interpreter/health.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "interpreter/exception.h"

namespace erlang_python {
namespace {

// What importing a module or reading a file takes at the same time.
constexpr std::size_t kDescriptors = 3;
constexpr std::size_t kMemoryBytes = 8 * 1024 * 1024;

std::string with_reason(const char* what, int error) { return std::string(what) + ": " + std::strerror(error); }

std::string refused_descriptors() {
  std::array<UniqueFd, kDescriptors> taken;
  for (UniqueFd& fd : taken) {
    fd = UniqueFd(eventfd(0, EFD_CLOEXEC));
    if (fd.get() < 0) return with_reason("no file can be opened", errno);
  }
  return {};
}

/// Asked of the kernel, not of malloc, which may have some left that others have given back.
std::string refused_memory() {
  void* const memory = mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return with_reason("8 MiB of memory cannot be had", errno);
  munmap(memory, kMemoryBytes);
  return {};
}

/// With a stack as large as those of Python's own threads.
std::string refused_thread() {
  pthread_t thread{};
  const int error = pthread_create(
      &thread, nullptr, [](void* nothing) -> void* { return nothing; }, nullptr);
  if (error != 0) return with_reason("no thread can be started", error);
  pthread_join(thread, nullptr);
  return {};
}

/// The text that the Python function returns, or what it raised.
std::string python_trouble(PyObject* function) {
  const auto text = PyRef::steal(PyObject_CallNoArgs(function));
  Py_ssize_t size = 0;
  const char* utf8 = text ? PyUnicode_AsUTF8AndSize(text.get(), &size) : nullptr;
  if (utf8 != nullptr) return {utf8, static_cast<std::size_t>(size)};
  return "Python code cannot be run: " + describe_exception();
}

/// A request for an object that only Python code of the package can convert.
std::string conversion_trouble(const PythonTypes& types, AtomAnnouncer& atoms) {
  TermWriter out;
  const auto value = PyRef::steal(Py_BuildValue("[Osd]", Py_Ellipsis, "text", 0.5));
  if (value && encode_term(value.get(), out, {}, types, atoms)) return {};
  return "a value cannot be converted: " + describe_exception();
}

}  // namespace

std::string find_trouble(PyObject* function, const PythonTypes& types, AtomAnnouncer& atoms) {
  for (const auto refused : {refused_descriptors, refused_memory, refused_thread}) {
    if (std::string trouble = refused(); !trouble.empty()) return trouble;
  }
  if (std::string trouble = python_trouble(function); !trouble.empty()) return trouble;
  return conversion_trouble(types, atoms);
}

}  // namespace erlang_python
