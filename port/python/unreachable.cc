#include "python/unreachable.h"

#include <cstddef>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace erlang_python {

#ifdef Py_GIL_DISABLED

// References are counted in several places there, and other threads change them.
LetGo let_go(PyRef globals, PyObject*) {
  auto error = PyRef::steal(PyErr_GetRaisedException());
  globals = PyRef();
  PyErr_SetRaisedException(error.release());
  return LetGo::kTooLarge;
}

#else

namespace {

// A look at so many takes about a millisecond.
constexpr std::size_t kMostObjects = 10'000;

/// The value of a name; borrowed, null for none. A lookup would compare the name with keys of classes of the user,
/// which is code that may change everything that is being looked at.
PyObject* value_of(PyObject* dict, const char* name) {
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict, &position, &key, &value) != 0) {
    if (PyUnicode_CheckExact(key) != 0 && PyUnicode_CompareWithASCIIString(key, name) == 0) return value;
  }
  return nullptr;
}

/// A weak reference, or what has one. Only the collector clears all of them before anything else, so here they count as
/// references from elsewhere: whoever has one may come by the object until the collector runs, or be called by it.
/// Every class has one, in its base class.
bool has_to_do_with_weak_references(PyObject* object) {
  if (PyWeakref_Check(object) != 0) return true;
  return PyType_SUPPORTS_WEAKREFS(Py_TYPE(object)) != 0 && *PyObject_GET_WEAKREFS_LISTPTR(object) != nullptr;
}

/// What tells of references that it does not own, so that they cannot be counted: from 3.14 on the stack of a generator
/// borrows from its local variables.
bool is_opaque(PyObject* object) {
#if PY_VERSION_HEX >= 0x030E0000
  return PyGen_CheckExact(object) != 0 || PyCoro_CheckExact(object) != 0 || PyAsyncGen_CheckExact(object) != 0 ||
         PyFrame_Check(object) != 0;
#else
  static_cast<void>(object);
  return false;
#endif
}

/// The containers that are reached from a dict of globals, as far as they may belong to it alone, and how many of the
/// references to each come from there. The caller has one to the dict, and none to the others. Runs no Python code.
class Reach {
 public:
  /// `preload`: a dict whose values are not looked into; null for none.
  Reach(PyObject* globals, PyObject* preload) : globals_(globals), name_(value_of(globals, "__name__")) {
    PyObject* key = nullptr;
    PyObject* value = nullptr;
    Py_ssize_t position = 0;
    while (preload != nullptr && PyDict_Next(preload, &position, &key, &value) != 0) {
      if (PyObject_IS_GC(value) != 0) not_ours_.insert(value);
    }
  }
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;

  /// False: there are too many.
  bool walk() {
    found(globals_);
    for (std::size_t next = 0; next < objects_.size() && objects_.size() <= kMostObjects; ++next) {
      visit_references_of(objects_[next], [](PyObject* to, void* self) noexcept {
        static_cast<Reach*>(self)->count(to);
        return 0;
      });
    }
    return objects_.size() <= kMostObjects;
  }

  /// After walk(). True: the dict is reached from elsewhere.
  bool mark_what_others_reach() {
    for (PyObject* object : objects_) {
      const Py_ssize_t ours = nodes_.at(object).references + (object == globals_ ? 1 : 0);
      Node& node = nodes_.at(object);
      // Less would mean that a type tells of references that it has not, and then nothing is certain.
      node.held = Py_REFCNT(object) != ours;
      if (node.held || has_to_do_with_weak_references(object)) live(object);
    }
    while (!pending_.empty() && !nodes_.at(globals_).live) {
      visit_references_of(next_pending(), [](PyObject* to, void* self) noexcept {
        auto& reach = *static_cast<Reach*>(self);
        if (reach.nodes_.contains(to)) reach.live(to);
        return 0;
      });
    }
    pending_.clear();
    return nodes_.at(globals_).live;
  }

  /// After mark_what_others_reach(): what nobody else reaches and has a finalizer that has not run.
  std::vector<PyRef> finalizable() const {
    std::vector<PyRef> all;
    for (PyObject* object : objects_) {
      if (nodes_.at(object).live || Py_TYPE(object)->tp_finalize == nullptr) continue;
      if (PyObject_GC_IsFinalized(object) == 0) all.push_back(PyRef::borrow(object));
    }
    return all;
  }

  /// Once, at last: whether something refers to itself in a way that does not lead through the dict, so that it is
  /// still there when the dict has been cleared. A class does.
  bool leaves_cycles() {
    for (PyObject* object : objects_) {
      if (nodes_.at(object).held) settle(object);
    }
    while (!pending_.empty()) {
      visit_references_of(next_pending(), [](PyObject* to, void* self) noexcept {
        auto& reach = *static_cast<Reach*>(self);
        if (reach.nodes_.contains(to)) reach.settle(to);
        return 0;
      });
    }
    settle(globals_);
    while (!pending_.empty()) {
      visit_references_of(next_pending(), [](PyObject* to, void* self) noexcept {
        auto& reach = *static_cast<Reach*>(self);
        const auto node = reach.nodes_.find(to);
        if (node != reach.nodes_.end() && --node->second.references == 0) reach.settle(to);
        return 0;
      });
    }
    return settled_ < objects_.size();
  }

 private:
  struct Node {
    Py_ssize_t references = 0;  ///< from within
    bool held = false;          ///< there are others
    bool live = false;          ///< others may come by it
    bool settled = false;       ///< it goes with the dict, or with whoever holds it
  };

  void found(PyObject* object) {
    nodes_.emplace(object, Node{});
    objects_.push_back(object);
  }

  void live(PyObject* object) {
    Node& node = nodes_.at(object);
    if (node.live) return;
    node.live = true;
    pending_.push_back(object);
  }

  void settle(PyObject* object) {
    Node& node = nodes_.at(object);
    if (node.settled) return;
    node.settled = true;
    ++settled_;
    pending_.push_back(object);
  }

  PyObject* next_pending() {
    PyObject* const object = pending_.back();
    pending_.pop_back();
    return object;
  }

  void count(PyObject* object) {
    if (PyObject_IS_GC(object) == 0) return;
    const auto node = nodes_.find(object);
    if (node != nodes_.end()) {
      ++node->second.references;
      return;
    }
    if (objects_.size() > kMostObjects || !may_be_ours(object)) return;
    found(object);
    nodes_.at(object).references = 1;
  }

  /// What others have too leads to all that is loaded: modules, their globals, and classes that were not made here.
  bool may_be_ours(PyObject* object) {
    if (PyObject_GC_IsTracked(object) == 0 || PyModule_Check(object) != 0 || not_ours_.contains(object)) return false;
    if (PyType_Check(object) == 0 || is_our_class(reinterpret_cast<PyTypeObject*>(object))) return true;
    not_ours_.insert(object);
    return false;
  }

  bool is_our_class(PyTypeObject* type) const {
    const auto dict = PyRef::steal(PyType_GetDict(type));
    PyObject* const module = dict ? value_of(dict.get(), "__module__") : nullptr;
    return module != nullptr && name_ != nullptr && PyUnicode_Check(module) != 0 && PyUnicode_Check(name_) != 0 &&
           PyUnicode_Compare(module, name_) == 0;
  }

  void visit_references_of(PyObject* object, visitproc visit) {
    if (is_opaque(object)) return;
    if (PyFunction_Check(object) != 0) {
      const auto& function = *reinterpret_cast<PyFunctionObject*>(object);
      not_ours_.insert(function.func_builtins);
      if (function.func_globals != globals_) not_ours_.insert(function.func_globals);
    }
    if (const traverseproc traverse = Py_TYPE(object)->tp_traverse) traverse(object, visit, this);
  }

  PyObject* const globals_;
  PyObject* const name_;  ///< borrowed from the dict
  std::vector<PyObject*> objects_;
  std::unordered_map<PyObject*, Node> nodes_;
  std::unordered_set<PyObject*> not_ours_;
  std::vector<PyObject*> pending_;
  std::size_t settled_ = 0;
};

struct Found {
  LetGo became;
  std::vector<PyRef> finalizable;  ///< of what is to go
};

Found look(PyObject* globals, PyObject* preload) {
  Reach reach(globals, preload);
  if (!reach.walk()) return {LetGo::kTooLarge, {}};
  if (reach.mark_what_others_reach()) return {LetGo::kHeld, {}};
  auto finalizable = reach.finalizable();
  return {reach.leaves_cycles() ? LetGo::kLeavesCycles : LetGo::kGone, std::move(finalizable)};
}

LetGo clear_unreachable(PyObject* globals, PyObject* preload) {
  Found found = look(globals, preload);
  if (!found.finalizable.empty()) {
    for (const PyRef& object : found.finalizable) PyObject_CallFinalizer(object.get());
    // They may have stored what they came by.
    found.finalizable.clear();
    found = look(globals, preload);
    // What they have made anew, and is to be finalized itself, is for the collector.
    if (!found.finalizable.empty()) return LetGo::kHeld;
  }
  const LetGo became = found.became;
  // Nobody can come by a function that has these globals, nor will one run.
  if (became == LetGo::kGone || became == LetGo::kLeavesCycles) PyDict_Clear(globals);
  return became;
}

}  // namespace

LetGo let_go(PyRef globals, PyObject* preload) {
  auto error = PyRef::steal(PyErr_GetRaisedException());
  const bool containers = PyObject_GC_IsTracked(globals.get()) != 0;
  const LetGo became = containers ? clear_unreachable(globals.get(), preload) : LetGo::kGone;
  globals = PyRef();
  PyErr_SetRaisedException(error.release());
  return became;
}

#endif

}  // namespace erlang_python
