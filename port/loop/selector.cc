#include "loop/selector.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "loop/companion.h"
#include "loop/loop_module.h"
#include "loop/selector_keys.h"
#include "loop/waiter.h"
#include "python/wake_slot.h"

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
  bool selecting = false;      ///< a thread is in select(), perhaps without the GIL
  bool closing = false;        ///< close() came meanwhile
};

struct Selector {
  PyObject_HEAD;
  State* state;
  PyObject* keys;  ///< dict: descriptor to SelectorKey
  PyObject* map;   ///< what get_map() returns
};

Selector* of(PyObject* self) { return reinterpret_cast<Selector*>(self); }
State& state_of(PyObject* self) { return *of(self)->state; }
bool is_closed(const State& state) { return state.waiter == nullptr || state.closing; }

PyObject* raise_closed() {
  PyErr_SetString(PyExc_ValueError, "I/O operation on closed selector");
  return nullptr;
}

PyObject* raise_errno(int code) {
  errno = code;
  return PyErr_SetFromErrno(PyExc_OSError);
}

/// The arguments of a call: positional ones, then those named by `names`.
struct Arguments {
  PyObject* const* values;
  Py_ssize_t positional;
  PyObject* names;  ///< tuple, or nullptr
};

/// Puts them where their names say; what is optional and missing stays as it is. False with TypeError.
template <std::size_t kCount>
bool parse(const Arguments& given, const char* method, const std::array<const char*, kCount>& names,
           std::size_t required, std::array<PyObject*, kCount>& parsed) {
  const Py_ssize_t named = given.names != nullptr ? PyTuple_GET_SIZE(given.names) : 0;
  bool fits = given.positional + named <= static_cast<Py_ssize_t>(kCount);
  for (Py_ssize_t i = 0; fits && i < given.positional; ++i) parsed[static_cast<std::size_t>(i)] = given.values[i];
  for (Py_ssize_t i = 0; fits && i < named; ++i) {
    std::size_t at = static_cast<std::size_t>(given.positional);
    while (at < kCount && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(given.names, i), names[at]) != 0) ++at;
    fits = at < kCount;
    if (fits) parsed[at] = given.values[given.positional + i];
  }
  for (std::size_t i = 0; fits && i < required; ++i) fits = parsed[i] != nullptr;
  if (!fits) PyErr_Format(PyExc_TypeError, "%s: these arguments are not those of the method", method);
  return fits;
}

/// A method of the type: its body, as a function of its own, inside the object's critical section.
using Body = PyObject* (*)(PyObject*, const Arguments&);

template <Body kBody>
PyObject* locked(PyObject* self, PyObject* const* values, Py_ssize_t positional, PyObject* names) {
  PyObject* result = nullptr;
  Py_BEGIN_CRITICAL_SECTION(self);
  result = kBody(self, {values, positional, names});
  Py_END_CRITICAL_SECTION();
  return result;
}

template <Body kBody>
PyObject* locked_without_arguments(PyObject* self, PyObject*) {
  return locked<kBody>(self, nullptr, 0, nullptr);
}

std::uint32_t epoll_events(unsigned events) {
  return ((events & kRead) != 0 ? EPOLLIN : 0U) | ((events & kWrite) != 0 ? EPOLLOUT : 0U);
}

/// As selectors.EpollSelector: errors and hang-ups are seen by readers and writers alike.
unsigned selector_events(std::uint32_t events) {
  return ((events & ~std::uint32_t{EPOLLIN}) != 0 ? kWrite : 0U) |
         ((events & ~std::uint32_t{EPOLLOUT}) != 0 ? kRead : 0U);
}

struct Registration {
  PyObject* fileobj;
  PyObject* events;
  PyObject* data;
  long mask;
};

bool parse_registration(const Arguments& given, const char* method, Registration& parsed) {
  std::array<PyObject*, 3> values{nullptr, nullptr, Py_None};
  if (!parse<3>(given, method, {"fileobj", "events", "data"}, 2, values)) return false;
  parsed = {values[0], values[1], values[2], 0};
  parsed.mask = PyLong_AsLong(parsed.events);
  return parsed.mask != -1 || PyErr_Occurred() == nullptr;
}

PyRef new_key(PyObject* self, const Registration& registration, PyObject* fileobj, int fd) {
  auto number = PyRef::steal(PyLong_FromLong(fd));
  if (!number) return {};
  return make_key(loop_module_state(Py_TYPE(self))->key_type, fileobj, number.get(), registration.events,
                  registration.data);
}

PyObject* register_(PyObject* self, const Arguments& given) {
  Registration wanted{};
  if (!parse_registration(given, "register", wanted)) return nullptr;
  if (wanted.mask <= 0 || wanted.mask > static_cast<long>(kRead | kWrite)) {
    return PyErr_Format(PyExc_ValueError, "Invalid events: %R", wanted.events);
  }
  PyObject* keys = of(self)->keys;
  const int fd = registered_fd_of(keys, wanted.fileobj);
  if (fd < 0) return nullptr;
  PyRef key = new_key(self, wanted, wanted.fileobj, fd);
  if (!key) return nullptr;
  const int registered = PyDict_Contains(keys, key_fd(key.get()));
  if (registered < 0) return nullptr;
  if (registered != 0) {
    return PyErr_Format(PyExc_KeyError, "%R (FD %d) is already registered", wanted.fileobj, fd);
  }
  State& state = state_of(self);
  if (is_closed(state)) return raise_closed();
  if (int code = state.waiter->add(fd, epoll_events(static_cast<unsigned>(wanted.mask))); code != 0) {
    return raise_errno(code);
  }
  if (PyDict_SetItem(keys, key_fd(key.get()), key.get()) != 0) {
    state.waiter->remove(fd);
    return nullptr;
  }
  return key.release();
}

/// The key of a registered file object; none with KeyError or ValueError.
PyRef find(PyObject* self, PyObject* fileobj) { return PyRef::steal(PyObject_GetItem(of(self)->map, fileobj)); }

bool forget(PyObject* self, PyObject* key) {
  if (PyDict_DelItem(of(self)->keys, key_fd(key)) != 0) return false;
  State& state = state_of(self);
  // Fails when the descriptor was closed after it was registered, which is none of our business.
  if (!is_closed(state)) static_cast<void>(state.waiter->remove(static_cast<int>(PyLong_AsLong(key_fd(key)))));
  return true;
}

PyObject* unregister(PyObject* self, const Arguments& given) {
  std::array<PyObject*, 1> fileobj{};
  if (!parse<1>(given, "unregister", {"fileobj"}, 1, fileobj)) return nullptr;
  PyRef key = find(self, fileobj[0]);
  if (!key || !forget(self, key.get())) return nullptr;
  return key.release();
}

PyObject* modify(PyObject* self, const Arguments& given) {
  Registration wanted{};
  if (!parse_registration(given, "modify", wanted)) return nullptr;
  PyRef before = find(self, wanted.fileobj);
  if (!before) return nullptr;
  const int fd = static_cast<int>(PyLong_AsLong(key_fd(before.get())));
  if (PyLong_AsLong(key_events(before.get())) != wanted.mask) {
    State& state = state_of(self);
    if (is_closed(state)) return raise_closed();
    if (int code = state.waiter->change(fd, epoll_events(static_cast<unsigned>(wanted.mask))); code != 0) {
      if (!forget(self, before.get())) return nullptr;
      return raise_errno(code);
    }
  }
  PyRef key = new_key(self, wanted, key_fileobj(before.get()), fd);
  if (!key || PyDict_SetItem(of(self)->keys, key_fd(key.get()), key.get()) != 0) return nullptr;
  return key.release();
}

/// The list that select() returns.
PyObject* ready_list(PyObject* self, int count) {
  auto list = PyRef::steal(PyList_New(0));
  for (int i = 0; list && i < count; ++i) {
    const epoll_event& event = state_of(self).events[static_cast<std::size_t>(i)];
    auto fd = PyRef::steal(PyLong_FromLong(event.data.fd));
    if (!fd) return nullptr;
    PyObject* key = PyDict_GetItemWithError(of(self)->keys, fd.get());
    if (key == nullptr) {
      if (PyErr_Occurred() != nullptr) return nullptr;
      continue;  // closed while a duplicate is open, and unregistered
    }
    const long wanted = PyLong_AsLong(key_events(key));
    auto mask = PyRef::steal(PyLong_FromLong(static_cast<long>(selector_events(event.events)) & wanted));
    if (!mask) return nullptr;
    auto pair = PyRef::steal(PyTuple_Pack(2, key, mask.get()));
    if (!pair || PyList_Append(list.get(), pair.get()) != 0) return nullptr;
  }
  return list.release();
}

int poll(PyObject* self) {
  State& state = state_of(self);
  const auto registered = static_cast<std::size_t>(PyDict_Size(of(self)->keys));
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
int wait(PyObject* self, std::int64_t deadline_ns) {
  Waiter& waiter = *state_of(self).waiter;
  const WakeSlot::Sleep sleeps_here(waiter);
  for (;;) {
    if (interrupted()) return 0;
    if (LoopCompanion* companion = thread_companion()) {
      companion->sleep(waiter, deadline_ns);
      return interrupted() ? 0 : poll(self);  // what was served may have given the loop something to do
    }
    Py_BEGIN_ALLOW_THREADS;
    waiter.sleep(deadline_ns);
    Py_END_ALLOW_THREADS;
    const int count = poll(self);
    if (count != 0 || waiter.take_wake() || state_of(self).closing) return count;
    if (deadline_ns != kNoDeadline && now_ns() >= deadline_ns) return 0;
  }
}

PyObject* select(PyObject* self, const Arguments& given) {
  std::array<PyObject*, 1> timeout{Py_None};
  if (!parse<1>(given, "select", {"timeout"}, 0, timeout)) return nullptr;
  std::int64_t deadline_ns = 0;
  bool waits = false;
  if (!parse_deadline(timeout[0], deadline_ns, waits)) return nullptr;
  State& state = state_of(self);
  if (is_closed(state)) return raise_closed();
  if (state.selecting) {
    PyErr_SetString(PyExc_RuntimeError, "another thread is in select()");
    return nullptr;
  }
  state.selecting = true;
  int count = 0;
  if (!waits || looks_first(state)) count = poll(self);
  if (waits) state.looks_in_vain = count > 0 ? 0 : state.looks_in_vain + 1;
  // What was to be told by wake() was done before it, so it is seen by the loop after this, whatever the count.
  if (!state.waiter->take_wake() && count == 0 && waits) {
    count = wait(self, deadline_ns);
  } else if (LoopCompanion* companion = thread_companion()) {
    companion->between_rounds();
  }
  state.selecting = false;
  if (state.closing) {
    state.waiter.reset();
    return raise_closed();
  }
  return count >= 0 ? ready_list(self, count) : raise_errno(-count);
}

PyObject* wake(PyObject* self, const Arguments&) {
  State& state = state_of(self);
  if (!is_closed(state)) state.waiter->wake();
  Py_RETURN_NONE;
}

PyObject* get_map(PyObject* self, const Arguments&) {
  return Py_NewRef(is_closed(state_of(self)) ? Py_None : of(self)->map);
}

PyObject* get_key(PyObject* self, const Arguments& given) {
  std::array<PyObject*, 1> fileobj{};
  if (!parse<1>(given, "get_key", {"fileobj"}, 1, fileobj)) return nullptr;
  if (is_closed(state_of(self))) {
    PyErr_SetString(PyExc_RuntimeError, "Selector is closed");
    return nullptr;
  }
  return find(self, fileobj[0]).release();
}

PyObject* fileno(PyObject* self, const Arguments&) {
  const State& state = state_of(self);
  return is_closed(state) ? raise_closed() : PyLong_FromLong(state.waiter->fd());
}

PyObject* close(PyObject* self, const Arguments&) {
  State& state = state_of(self);
  PyDict_Clear(of(self)->keys);
  if (state.selecting) {
    state.closing = true;  // the thread in select() closes it when it is out
    state.waiter->wake();
  } else {
    state.waiter.reset();
  }
  Py_RETURN_NONE;
}

PyObject* enter(PyObject* self, const Arguments&) { return Py_NewRef(self); }

PyObject* new_selector(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {nullptr};
  if (PyArg_ParseTupleAndKeywords(args, kwargs, ":Selector", const_cast<char**>(names)) == 0) return nullptr;
  auto self = PyRef::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  of(self.get())->state = new State();
  of(self.get())->keys = PyDict_New();
  if (of(self.get())->keys == nullptr) return nullptr;
  of(self.get())->map = make_map(loop_module_state(type)->map_type, of(self.get())->keys).release();
  if (of(self.get())->map == nullptr) return nullptr;
  int code = 0;
  state_of(self.get()).waiter = Waiter::open(code);
  if (code != 0) return raise_errno(code);
  state_of(self.get()).events.resize(1);
  return self.release();
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(of(self)->keys);
  Py_VISIT(of(self)->map);
  return 0;
}

// No tp_clear: a cycle through a selector goes through its dict, which has one, and close() works to the end.
void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_XDECREF(of(self)->map);
  Py_XDECREF(of(self)->keys);
  delete of(self)->state;
  type->tp_free(self);
  Py_DECREF(type);
}

template <Body kBody>
constexpr PyMethodDef method(const char* name, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(locked<kBody>)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

PyMethodDef methods[] = {
    method<register_>(
        "register",
        "register(fileobj, events, data=None) -> SelectorKey\n\nWatch a file object or descriptor. KeyError "
        "when it is already, ValueError for what is none, OSError for what cannot be watched."),
    method<unregister>("unregister", "unregister(fileobj) -> SelectorKey\n\nKeyError when it is not registered."),
    method<modify>("modify", "modify(fileobj, events, data=None) -> SelectorKey\n\nKeyError, OSError."),
    method<select>("select",
                   "select(timeout=None) -> list[tuple[SelectorKey, int]]\n\nWait, at most `timeout` seconds, until "
                   "something is ready or wake() is called. One thread at a time."),
    method<get_key>("get_key", "get_key(fileobj) -> SelectorKey\n\nKeyError when it is not registered."),
    method<close>("__exit__", nullptr),
    {"wake", locked_without_arguments<wake>, METH_NOARGS,
     "wake() -> None\n\nEnd select(), or the next one when none runs. Any thread; nothing after close()."},
    {"get_map", locked_without_arguments<get_map>, METH_NOARGS,
     "get_map() -> Mapping | None\n\nFile objects to keys, a view; None after close()."},
    {"fileno", locked_without_arguments<fileno>, METH_NOARGS, "fileno() -> int\n\nThe epoll set."},
    {"close", locked_without_arguments<close>, METH_NOARGS, "close() -> None\n\nIdempotent."},
    {"__enter__", locked_without_arguments<enter>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A selector like selectors.EpollSelector, on libuv, that other threads can wake.")},
    {Py_tp_new, reinterpret_cast<void*>(new_selector)},
    {Py_tp_methods, methods},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {
    "_erlang_loop.Selector", sizeof(Selector), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots,
};

}  // namespace

PyTypeObject* make_selector_type(PyObject* module) {
  return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

Waiter* waiter_of(PyObject* selector) {
  const LoopModuleState* module = loop_module_state(Py_TYPE(selector));
  if (module == nullptr) return nullptr;
  if (!PyObject_TypeCheck(selector, module->selector_type)) {
    PyErr_SetString(PyExc_TypeError, "not a Selector");
    return nullptr;
  }
  if (is_closed(state_of(selector))) {
    raise_closed();
    return nullptr;
  }
  return state_of(selector).waiter.get();
}

}  // namespace erlang_python
