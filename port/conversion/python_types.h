#pragma once

#include <memory>

#include "python/py_ref.h"

namespace erlang_python {

/// The Python classes and functions that conversion needs, looked up once per interpreter in the package `erlang`.
/// Use only while attached to the interpreter it was made in.
struct PythonTypes {
  PyRef atom;              ///< class erlang.Atom, a subclass of str
  PyRef pid;               ///< class erlang.Pid; Pid(etf: bytes), attribute `etf`
  PyRef reference;         ///< class erlang.Ref, likewise
  PyRef term;              ///< class erlang.Term, likewise: an opaque term
  PyRef conversion_error;  ///< class erlang.ConversionError(reason): reason is `depth` or a tuple, see protocol.md
  PyRef erlang_error;      ///< class erlang.ErlangError(function, class, reason, text, stack)
  PyRef unknown_function;  ///< class erlang.UnknownFunction(function)
  PyRef process_error;     ///< class erlang.ProcessError(message)
  PyRef scheduled;         ///< class erlang._schedule.ScheduleMarker, with `resume()` and `yields`
  PyRef scheduled_inline;  ///< class erlang._schedule.InlineScheduleMarker, likewise
  PyRef encoders;          ///< dict of the encoders that erlang.register_encoder fills: class -> function
  PyRef fallback;          ///< function erlang._encoding.fallback(value, strict, buffer) -> an encodable value
  PyRef int_from_bytes;    ///< int.from_bytes
  PyRef etf_name;          ///< the str "etf", interned

  /// Whether it is work that its request goes on with.
  bool is_scheduled(PyObject* value) const {
    auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(value));
    return type == scheduled.get() || type == scheduled_inline.get();
  }

  /// For the tp_traverse of what owns it.
  int traverse(visitproc visit, void* arg) const;

  /// nullptr with a Python error set when the package is not as expected.
  static std::unique_ptr<PythonTypes> load();
};

}  // namespace erlang_python
