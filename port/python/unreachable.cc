#include "python/unreachable.h"

#include <cstddef>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace erlang_python {

#ifdef Py_GIL_DISABLED

// References are counted in several places there, and other threads change them.
LetGo let_go(PyRef globals) {
  const bool last = Py_REFCNT(globals.get()) == 1;
  auto error = PyRef::steal(PyErr_GetRaisedException());
  globals = PyRef();
  PyErr_SetRaisedException(error.release());
  return last ? LetGo::kGone : LetGo::kTooLarge;
}

#else

namespace {

// A look at so many takes about a millisecond.
constexpr std::size_t kMostObjects = 10'000;

/// The containers that are reached from a dict of globals, as far as they may belong to it alone, and how many of the
/// references to each come from there. The caller has one to the dict, and none to the others.
class Reach {
 public:
  explicit Reach(PyObject* globals) : globals_(globals), name_(PyDict_GetItemString(globals, "__name__")) {}
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;

  /// False: there are too many.
  bool walk() {
    found(globals_);
    for (std::size_t next = 0; next < objects_.size() && objects_.size() <= kMostObjects; ++next) {
      visit_references_of(objects_[next], [](PyObject* to, void* self) {
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
      // Less would mean that a type tells of references that it has not, and then nothing is certain.
      if (Py_REFCNT(object) != ours) live(object);
    }
    while (!to_mark_.empty() && !nodes_.at(globals_).live) {
      PyObject* const object = to_mark_.back();
      to_mark_.pop_back();
      visit_references_of(object, [](PyObject* to, void* self) {
        auto& reach = *static_cast<Reach*>(self);
        if (reach.nodes_.contains(to)) reach.live(to);
        return 0;
      });
    }
    return nodes_.at(globals_).live;
  }

  /// What nobody else reaches.
  std::vector<PyRef> garbage() const {
    std::vector<PyRef> all;
    for (PyObject* object : objects_) {
      if (!nodes_.at(object).live) all.push_back(PyRef::borrow(object));
    }
    return all;
  }

 private:
  struct Node {
    Py_ssize_t references = 0;
    bool live = false;
  };

  void found(PyObject* object) {
    nodes_.emplace(object, Node{});
    objects_.push_back(object);
  }

  void live(PyObject* object) {
    Node& node = nodes_.at(object);
    if (node.live) return;
    node.live = true;
    to_mark_.push_back(object);
  }

  void count(PyObject* object) {
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
    if (PyObject_IS_GC(object) == 0 || PyObject_GC_IsTracked(object) == 0) return false;
    if (PyModule_Check(object) != 0 || not_ours_.contains(object)) return false;
    if (PyType_Check(object) == 0 || is_our_class(reinterpret_cast<PyTypeObject*>(object))) return true;
    not_ours_.insert(object);
    return false;
  }

  bool is_our_class(PyTypeObject* type) const {
    const auto dict = PyRef::steal(PyType_GetDict(type));
    PyObject* const module = dict ? PyDict_GetItemString(dict.get(), "__module__") : nullptr;
    return module != nullptr && name_ != nullptr && PyUnicode_Check(module) != 0 && PyUnicode_Check(name_) != 0 &&
           PyUnicode_Compare(module, name_) == 0;
  }

  void visit_references_of(PyObject* object, visitproc visit) {
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
  std::vector<PyObject*> to_mark_;
};

/// True: there were some.
bool run_finalizers(const std::vector<PyRef>& garbage) {
  bool any = false;
  for (const PyRef& object : garbage) {
    if (Py_TYPE(object.get())->tp_finalize == nullptr || PyObject_GC_IsFinalized(object.get()) != 0) continue;
    PyObject_CallFinalizer(object.get());
    any = true;
  }
  return any;
}

void clear(PyObject* object) {
  if (const inquiry clear = Py_TYPE(object)->tp_clear) clear(object);
  if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(object);
}

/// As in CPython's collector: the callback of a weak reference that is garbage itself is not called.
void clear_all(const std::vector<PyRef>& garbage) {
  for (const PyRef& object : garbage) {
    if (PyWeakref_Check(object.get()) != 0) clear(object.get());
  }
  for (const PyRef& object : garbage) {
    if (PyWeakref_Check(object.get()) == 0) clear(object.get());
  }
}

struct Found {
  LetGo became;
  std::vector<PyRef> garbage;  ///< when it is to go
};

Found look(PyObject* globals) {
  Reach reach(globals);
  if (!reach.walk()) return {LetGo::kTooLarge, {}};
  if (reach.mark_what_others_reach()) return {LetGo::kHeld, {}};
  return {LetGo::kGone, reach.garbage()};
}

LetGo break_cycles(PyObject* globals) {
  Found found = look(globals);
  if (run_finalizers(found.garbage)) {
    // They may have stored what they came by.
    found.garbage.clear();
    found = look(globals);
  }
  clear_all(found.garbage);
  return found.became;
}

}  // namespace

LetGo let_go(PyRef globals) {
  auto error = PyRef::steal(PyErr_GetRaisedException());
  const bool containers = PyObject_GC_IsTracked(globals.get()) != 0;
  const LetGo became = containers ? break_cycles(globals.get()) : LetGo::kGone;
  globals = PyRef();
  PyErr_SetRaisedException(error.release());
  return became;
}

#endif

}  // namespace erlang_python
