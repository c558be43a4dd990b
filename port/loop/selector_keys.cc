#include "loop/selector_keys.h"

#include <climits>

namespace erlang_python {
namespace {

/// -1 with an error: ValueError for negative numbers, OverflowError for what no descriptor can be.
int checked_fd(PyObject* number) {
  int overflow = 0;
  const long fd = PyLong_AsLongAndOverflow(number, &overflow);
  if (fd == -1 && overflow == 0 && PyErr_Occurred() != nullptr) return -1;
  if (overflow < 0 || (overflow == 0 && fd < 0)) {
    PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
    return -1;
  }
  if (overflow > 0 || fd > INT_MAX) {
    PyErr_SetString(PyExc_OverflowError, "signed integer is greater than maximum");
    return -1;
  }
  return static_cast<int>(fd);
}

void raise_not_registered(PyObject* fileobj) { PyErr_Format(PyExc_KeyError, "%R is not registered", fileobj); }

struct SelectorMap {
  PyObject_HEAD;
  PyObject* keys;
};

PyObject* keys_of(PyObject* self) { return reinterpret_cast<SelectorMap*>(self)->keys; }

/// Borrowed; nullptr without an error when there is none.
PyObject* find_key(PyObject* keys, PyObject* fileobj) {
  const int fd = registered_fd_of(keys, fileobj);
  if (fd < 0) return nullptr;
  auto number = PyRef::steal(PyLong_FromLong(fd));
  return number ? PyDict_GetItemWithError(keys, number.get()) : nullptr;
}

PyObject* map_get(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count < 1 || count > 2) {
    PyErr_SetString(PyExc_TypeError, "get() takes a file object and an optional default");
    return nullptr;
  }
  PyObject* key = find_key(keys_of(self), args[0]);
  if (key == nullptr && PyErr_Occurred() != nullptr) return nullptr;
  if (key != nullptr) return Py_NewRef(key);
  return Py_NewRef(count == 2 ? args[1] : Py_None);
}

PyObject* map_subscript(PyObject* self, PyObject* fileobj) {
  PyObject* key = find_key(keys_of(self), fileobj);
  if (key == nullptr && PyErr_Occurred() == nullptr) raise_not_registered(fileobj);
  return Py_XNewRef(key);
}

int map_contains(PyObject* self, PyObject* fileobj) {
  PyObject* key = find_key(keys_of(self), fileobj);
  if (key == nullptr && PyErr_Occurred() != nullptr) return -1;
  return key != nullptr ? 1 : 0;
}

Py_ssize_t map_length(PyObject* self) { return PyDict_Size(keys_of(self)); }
PyObject* map_iter(PyObject* self) { return PyObject_GetIter(keys_of(self)); }

template <const char* const& kName>
PyObject* view(PyObject* self, PyObject*) {
  return PyObject_CallMethod(keys_of(self), kName, nullptr);
}
constexpr const char* kKeys = "keys";
constexpr const char* kValues = "values";
constexpr const char* kItems = "items";

PyObject* map_compare(PyObject* self, PyObject* other, int operation) {
  if (operation != Py_EQ && operation != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  PyObject* keys = Py_TYPE(other) == Py_TYPE(self) ? keys_of(other) : other;
  return PyObject_RichCompare(keys_of(self), keys, operation);
}

int map_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(keys_of(self));
  return 0;
}

// No tp_clear: the dict has one.
void map_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_XDECREF(keys_of(self));
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef map_methods[] = {
    {"get", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(map_get)), METH_FASTCALL,
     "get(fileobj, default=None)\n\nThe SelectorKey of a file object or descriptor, or the default."},
    {"keys", view<kKeys>, METH_NOARGS, "The registered descriptors."},
    {"values", view<kValues>, METH_NOARGS, "Their keys."},
    {"items", view<kItems>, METH_NOARGS, "Pairs of both."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot map_slots[] = {
    {Py_tp_doc, const_cast<char*>("What is registered with a Selector: file objects to SelectorKeys. A view.")},
    {Py_tp_methods, map_methods},
    {Py_tp_traverse, reinterpret_cast<void*>(map_traverse)},
    {Py_tp_dealloc, reinterpret_cast<void*>(map_dealloc)},
    {Py_tp_iter, reinterpret_cast<void*>(map_iter)},
    {Py_tp_richcompare, reinterpret_cast<void*>(map_compare)},
    {Py_mp_length, reinterpret_cast<void*>(map_length)},
    {Py_mp_subscript, reinterpret_cast<void*>(map_subscript)},
    {Py_sq_contains, reinterpret_cast<void*>(map_contains)},
    {0, nullptr},
};

PyType_Spec map_spec = {
    "_erlang_loop.SelectorMap",
    sizeof(SelectorMap),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
        Py_TPFLAGS_MAPPING,
    map_slots,
};

}  // namespace

int fd_of(PyObject* fileobj) {
  if (PyLong_Check(fileobj)) return checked_fd(fileobj);
  auto number = PyRef::steal(PyObject_CallMethod(fileobj, "fileno", nullptr));
  if (number) number = PyRef::steal(PyNumber_Long(number.get()));
  if (number) return checked_fd(number.get());
  if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
      PyErr_ExceptionMatches(PyExc_ValueError)) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
  }
  return -1;
}

int registered_fd_of(PyObject* keys, PyObject* fileobj) {
  const int fd = fd_of(fileobj);
  if (fd >= 0 || !PyErr_ExceptionMatches(PyExc_ValueError)) return fd;
  auto error = PyRef::steal(PyErr_GetRaisedException());
  PyObject* number = nullptr;
  PyObject* key = nullptr;
  for (Py_ssize_t at = 0; PyDict_Next(keys, &at, &number, &key) != 0;) {
    if (key_fileobj(key) == fileobj) return checked_fd(number);
  }
  PyErr_SetRaisedException(error.release());
  return -1;
}

PyRef make_key(PyTypeObject* key_type, PyObject* fileobj, PyObject* fd, PyObject* events, PyObject* data) {
  auto fields = PyRef::steal(PyTuple_Pack(4, fileobj, fd, events, data));
  if (!fields) return {};
  auto arguments = PyRef::steal(PyTuple_Pack(1, fields.get()));
  if (!arguments) return {};
  // What the namedtuple's own __new__ does, without its Python frame.
  return PyRef::steal(PyTuple_Type.tp_new(key_type, arguments.get(), nullptr));
}

PyTypeObject* make_map_type(PyObject* module) {
  return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &map_spec, nullptr));
}

PyRef make_map(PyTypeObject* map_type, PyObject* keys) {
  PyObject* map = map_type->tp_alloc(map_type, 0);
  if (map == nullptr) return {};
  reinterpret_cast<SelectorMap*>(map)->keys = Py_NewRef(keys);
  return PyRef::steal(map);
}

}  // namespace erlang_python
