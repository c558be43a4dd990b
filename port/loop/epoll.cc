#include "loop/epoll.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "base/clock.h"
#include "loop/companion.h"
#include "loop/waiter.h"
#include "python/entry.h"
#include "thread/wake_slot.h"

// Free-threaded builds lock the object; with a GIL, and before 3.13, the GIL is that lock.
#ifndef Py_BEGIN_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

namespace erlang_python {
namespace {

constexpr unsigned kRead = 1;   // selectors.EVENT_READ
constexpr unsigned kWrite = 2;  // selectors.EVENT_WRITE
constexpr std::int64_t kNoDeadline = -1;
// As long as an event loop of asyncio sleeps at most; beyond, seconds may not fit into nanoseconds.
constexpr double kLongestSeconds = 24 * 3600.0;

struct State {
  std::unique_ptr<Waiter> waiter;  ///< none: closed
  std::vector<epoll_event> events;
  unsigned looks_in_vain = 0;  ///< in a row, of those before a sleep
  unsigned selecting = 0;      ///< how often a thread is in select(), perhaps without the GIL
  unsigned long thread = 0;    ///< which one
  std::uint64_t polls = 0;     ///< which of them `events` are of
  bool closing = false;        ///< close() came meanwhile
};

struct Epoll {
  PyObject_HEAD;
  State state;
};

State& state_of(PyObject* self) { return reinterpret_cast<Epoll*>(self)->state; }
bool is_closed(const State& state) { return state.waiter == nullptr || state.closing; }

PyObject* raise_closed() {
  PyErr_SetString(PyExc_ValueError, "I/O operation on closed selector");
  return nullptr;
}

PyObject* raise_errno(int code) {
  errno = code;
  return PyErr_SetFromErrno(PyExc_OSError);
}

/// The arguments of a method: so many as it takes.
using Arguments = PyObject* const*;

/// A method of the type: its body, as a function of its own, inside the object's critical section.
using Body = PyObject* (*)(PyObject*, Arguments);

template <Body kBody, Py_ssize_t kCount>
PyObject* locked(PyObject* self, PyObject* const* values, Py_ssize_t count) noexcept {
  if (count != kCount) return PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", kCount, count);
  PyObject* result = nullptr;
  Py_BEGIN_CRITICAL_SECTION(self);
  result = kBody(self, values);
  Py_END_CRITICAL_SECTION();
  return result;
}

/// As selectors.EpollSelector: errors and hang-ups are seen by readers and writers alike.
unsigned selector_events(std::uint32_t events) {
  return ((events & ~std::uint32_t{EPOLLIN}) != 0 ? kWrite : 0U) |
         ((events & ~std::uint32_t{EPOLLOUT}) != 0 ? kRead : 0U);
}

/// epoll_ctl, which waits for nothing: with the GIL.
template <int (Waiter::*kControl)(int, std::uint32_t) noexcept>
PyObject* control(PyObject* self, Arguments arguments) {
  const int fd = PyObject_AsFileDescriptor(arguments[0]);
  const unsigned long events = fd < 0 ? 0 : PyLong_AsUnsignedLong(arguments[1]);
  if (PyErr_Occurred() != nullptr) return nullptr;
  State& state = state_of(self);
  if (is_closed(state)) return raise_closed();
  const int code = (state.waiter.get()->*kControl)(fd, static_cast<std::uint32_t>(events));
  if (code != 0) return raise_errno(code);
  Py_RETURN_NONE;
}

PyObject* unregister(PyObject* self, Arguments arguments) {
  const int fd = PyObject_AsFileDescriptor(arguments[0]);
  if (fd < 0) return nullptr;
  State& state = state_of(self);
  if (is_closed(state)) return raise_closed();
  if (const int code = state.waiter->remove(fd); code != 0) return raise_errno(code);
  Py_RETURN_NONE;
}

/// The list that select() returns: pairs of a key, of those by descriptor in `keys`, and what it is ready for.
PyObject* ready_list(PyObject* self, PyObject* keys, int count) {
  auto list = PyRef::steal(PyList_New(0));
  for (int i = 0; list && i < count; ++i) {
    const epoll_event& event = state_of(self).events[static_cast<std::size_t>(i)];
    const auto fd = PyRef::steal(PyLong_FromLong(event.data.fd));
    if (!fd) return nullptr;
    PyObject* const key = PyDict_GetItemWithError(keys, fd.get());
    if (key == nullptr) {
      if (PyErr_Occurred() != nullptr) return nullptr;
      continue;  // closed while a duplicate is open, and unregistered
    }
    const long wanted = PyTuple_Check(key) && PyTuple_GET_SIZE(key) > 2 ? PyLong_AsLong(PyTuple_GET_ITEM(key, 2)) : 0;
    if (wanted == -1 && PyErr_Occurred() != nullptr) return nullptr;
    const auto mask = PyRef::steal(PyLong_FromLong(static_cast<long>(selector_events(event.events)) & wanted));
    if (!mask) return nullptr;
    const auto pair = PyRef::steal(PyTuple_Pack(2, key, mask.get()));
    if (!pair || PyList_Append(list.get(), pair.get()) != 0) return nullptr;
  }
  return list.release();
}

int poll(PyObject* self, PyObject* keys) {
  State& state = state_of(self);
  ++state.polls;
  const auto registered = static_cast<std::size_t>(PyDict_Size(keys));
  if (state.events.size() < registered) state.events.resize(registered);
  return state.waiter->poll(state.events);
}

/// Whether to look what is ready before sleeping, which keeps the GIL when something is. Where it never is, such as in
/// a server with a single client, the look is only a system call more: then it is done now and then.
bool looks_first(const State& state) {
  constexpr unsigned kInVain = 8;
  constexpr unsigned kNowAndThen = 16;
  return state.looks_in_vain < kInVain || state.looks_in_vain % kNowAndThen == 0;
}

/// False with a Python error set.
bool parse_deadline(PyObject* timeout, std::int64_t& deadline_ns, bool& waits) {
  deadline_ns = kNoDeadline;
  waits = true;
  if (timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  waits = seconds > 0;  // not for NaN
  if (waits) deadline_ns = now_ns() + static_cast<std::int64_t>(std::min(seconds, kLongestSeconds) * 1e9);
  return true;
}

/// True when an exception waits for this thread to run Python code again.
bool interrupted() { return PyThreadState_Get()->async_exc != nullptr; }

/// Sleeps without the GIL until there is a reason to return; how many events there are.
int wait(PyObject* self, PyObject* keys, std::int64_t deadline_ns) {
  Waiter& waiter = *state_of(self).waiter;
  const WakeSlot::Sleep sleeps_here(waiter);
  for (;;) {
    if (interrupted()) return 0;
    if (LoopCompanion* companion = thread_companion()) {
      companion->sleep(waiter, deadline_ns);
      return interrupted() ? 0 : poll(self, keys);  // what was served may have given the loop something to do
    }
    Py_BEGIN_ALLOW_THREADS;
    waiter.sleep(deadline_ns);
    Py_END_ALLOW_THREADS;
    const int count = poll(self, keys);
    if (count != 0 || waiter.take_wake() || state_of(self).closing) return count;
    if (deadline_ns != kNoDeadline && now_ns() >= deadline_ns) return 0;
  }
}

PyObject* select(PyObject* self, Arguments arguments) {
  PyObject* const keys = arguments[0];
  if (!PyDict_Check(keys)) {
    PyErr_SetString(PyExc_TypeError, "the keys are not a dict");
    return nullptr;
  }
  std::int64_t deadline_ns = 0;
  bool waits = false;
  if (!parse_deadline(arguments[1], deadline_ns, waits)) return nullptr;
  State& state = state_of(self);
  if (is_closed(state)) return raise_closed();
  // What the companion serves may run the same loop again, which asyncio does not let it do, but some programs do
  // (nest_asyncio).
  if (state.selecting > 0 && state.thread != PyThread_get_thread_ident()) {
    PyErr_SetString(PyExc_RuntimeError, "another thread is in select()");
    return nullptr;
  }
  ++state.selecting;
  state.thread = PyThread_get_thread_ident();
  int count = 0;
  if (!waits || looks_first(state)) count = poll(self, keys);
  if (waits) state.looks_in_vain = count > 0 ? 0 : state.looks_in_vain + 1;
  // What was to be told by wake() was done before it, so it is seen by the loop after this, whatever the count.
  if (!state.waiter->take_wake() && count == 0 && waits) {
    count = wait(self, keys, deadline_ns);
  } else if (LoopCompanion* companion = thread_companion()) {
    const std::uint64_t mine = state.polls;
    companion->between_rounds();
    if (state.polls != mine) count = poll(self, keys);
  }
  --state.selecting;
  if (state.closing) {
    if (state.selecting == 0) state.waiter.reset();
    return raise_closed();
  }
  return count >= 0 ? ready_list(self, keys, count) : raise_errno(-count);
}

PyObject* wake(PyObject* self, Arguments) {
  State& state = state_of(self);
  if (!is_closed(state)) state.waiter->wake();
  Py_RETURN_NONE;
}

PyObject* fileno(PyObject* self, Arguments) {
  const State& state = state_of(self);
  return is_closed(state) ? raise_closed() : PyLong_FromLong(state.waiter->fd());
}

PyObject* close(PyObject* self, Arguments) {
  State& state = state_of(self);
  if (state.selecting > 0) {
    state.closing = true;  // the thread in select() closes it when it is out
    state.waiter->wake();
  } else {
    state.waiter.reset();
  }
  Py_RETURN_NONE;
}

PyObject* new_epoll(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
  if (PyTuple_GET_SIZE(args) != 0 || kwargs != nullptr) {
    PyErr_SetString(PyExc_TypeError, "Epoll() takes no arguments");
    return nullptr;
  }
  auto self = PyRef::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  new (&state_of(self.get())) State();
  int code = 0;
  state_of(self.get()).waiter = Waiter::open(code);
  if (code != 0) return raise_errno(code);
  state_of(self.get()).events.resize(1);
  return self.release();
}

void dealloc(PyObject* self) noexcept {
  PyTypeObject* type = Py_TYPE(self);
  state_of(self).~State();
  type->tp_free(self);
  Py_DECREF(type);
}

template <Body kBody, Py_ssize_t kCount>
PyMethodDef entry(const char* name, const char* doc) {
  return {name, method(locked<kBody, kCount>), METH_FASTCALL, doc};
}

PyMethodDef methods[] = {
    entry<control<&Waiter::add>, 2>("register", "register(fd: int, events: int) -> None\n\nOSError as epoll_ctl."),
    entry<control<&Waiter::change>, 2>("modify", "modify(fd: int, events: int) -> None\n\nOSError as epoll_ctl."),
    entry<unregister, 1>("unregister", "unregister(fd: int) -> None\n\nOSError as epoll_ctl."),
    entry<select, 2>(
        "select",
        "select(keys: dict[int, SelectorKey], timeout: float | None) -> list[tuple[SelectorKey, int]]\n\n"
        "Wait, at most `timeout` seconds, until something is ready or wake() is called. One thread at a time, which "
        "may call it again from what it serves there."),
    entry<wake, 0>(
        "wake", "wake() -> None\n\nEnd select(), or the next one when none runs. Any thread; nothing after close()."),
    entry<fileno, 0>("fileno", "fileno() -> int\n\nThe epoll set."),
    entry<close, 0>("close", "close() -> None\n\nIdempotent."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc,
     const_cast<char*>("What select.epoll is to selectors.EpollSelector, on libuv: other threads can wake it.")},
    {Py_tp_new, slot(new_epoll)},
    {Py_tp_methods, methods},
    {Py_tp_dealloc, slot(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"_erlang_loop.Epoll", sizeof(Epoll), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

bool add_epoll_type(PyObject* module) {
  const auto type = PyRef::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace erlang_python
