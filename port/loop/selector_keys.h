#pragma once

#include "python/py_ref.h"

namespace erlang_python {

/// The keys of a selector by descriptor, as the module `selectors` has them: a dict of int to selectors.SelectorKey.
/// Attached to the interpreter; PyRef and -1 with a Python error set where something is wrong.

/// The descriptor of an int, or of an object with fileno(); -1 with ValueError for others.
int fd_of(PyObject* fileobj);

/// The same; a registered object that has no descriptor any more, since it was closed, is found by its identity.
int registered_fd_of(PyObject* keys, PyObject* fileobj);

PyRef make_key(PyTypeObject* key_type, PyObject* fileobj, PyObject* fd, PyObject* events, PyObject* data);
inline PyObject* key_fileobj(PyObject* key) { return PyTuple_GET_ITEM(key, 0); }
inline PyObject* key_fd(PyObject* key) { return PyTuple_GET_ITEM(key, 1); }
inline PyObject* key_events(PyObject* key) { return PyTuple_GET_ITEM(key, 2); }

/// Makes the type of what get_map() returns: a read-only mapping of file objects to keys.
PyTypeObject* make_map_type(PyObject* module);
PyRef make_map(PyTypeObject* map_type, PyObject* keys);

}  // namespace erlang_python
