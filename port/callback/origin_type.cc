#include "callback/origin_type.h"

#include <memory>
#include <new>

#include "callback/erlang_module.h"
#include "callback/inbox_type.h"
#include "callback/work_scope.h"
#include "python/entry.h"

namespace erlang_python {
namespace {

/// The origin of some work, when that leaves its request.
struct Leaving {
  const std::shared_ptr<Origin> origin;
  const std::uint32_t left;  ///< for Belonging::begin()
};
struct OriginObject {
  PyObject_HEAD Leaving leaving;
};

void destroy(PyObject* self) noexcept {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<OriginObject*>(self)->leaving.~Leaving();
  type->tp_free(self);
  Py_DECREF(type);
}

/// Of the request that the calling thread runs or works for; null for none.
std::shared_ptr<Origin> origin_of(RequestScope* scope) {
  if (scope == nullptr || scope->home == nullptr || !*scope->home) return nullptr;
  if (!scope->origin) {
    const Origin::Facts facts{scope->context, scope->env, scope->chain, scope->nesting, scope->caller};
    scope->origin = Origin::begin(facts, *scope->home, scope->above ? scope->above->for_work() : nullptr);
  }
  return scope->origin->for_work();
}

PyObject* origin(PyObject* module, PyObject*) noexcept {
  auto found = origin_of(scope_now(module));
  if (!found) Py_RETURN_NONE;
  auto* const type = reinterpret_cast<PyTypeObject*>(erlang_module_state(module).origin_type);
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  const std::uint32_t left = found->belonging().leave();
  new (&reinterpret_cast<OriginObject*>(self)->leaving) Leaving{std::move(found), left};
  return self;
}

PyObject* run_as(Origin::Worker::Kind kind, PyObject* self, PyTypeObject* type, PyObject* const* args,
                 std::size_t count, PyObject* names) {
  if (count < 1) return PyErr_Format(PyExc_TypeError, "what is to be run is missing");
  const auto call = [&] { return PyObject_Vectorcall(args[0], args + 1, count - 1, names); };
  PyObject* const module = PyType_GetModule(type);
  const auto asker = module != nullptr ? asker_of(module) : std::nullopt;
  if (!asker) return nullptr;
  // An executor that runs what it is given at once, in the thread of a context.
  if (const RequestScope* here = current_scope(); here != nullptr && here->waiter->in_context()) return call();
  const Leaving& leaving = reinterpret_cast<OriginObject*>(self)->leaving;
  const std::shared_ptr<Origin> from = leaving.origin;  // the object may go while the work runs
  if (from->belonging().begin(leaving.left) == Belonging::Work::kTold && kind == Origin::Worker::Kind::kSubmitted) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  const WorkScope scope(*asker, from, kind);
  return call();
}

PyObject* run(PyObject* self, PyTypeObject* type, PyObject* const* args, ArgumentCount count,
              PyObject* names) noexcept {
  return run_as(Origin::Worker::Kind::kSubmitted, self, type, args, static_cast<std::size_t>(count), names);
}

PyObject* run_thread(PyObject* self, PyTypeObject* type, PyObject* const* args, ArgumentCount count,
                     PyObject* names) noexcept {
  return run_as(Origin::Worker::Kind::kThread, self, type, args, static_cast<std::size_t>(count), names);
}

PyMethodDef methods[] = {
    {"run", method(run), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "run(function, /, *args, **kwargs)\n\nCall a function on behalf of the request, in whatever thread. "
     "KeyboardInterrupt when the request was told to end since the work left it."},
    {"run_thread", method(run_thread), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "run_thread(function, /, *args, **kwargs)\n\nThe same for all that a thread does, which is not interrupted before "
     "its run()."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The request that work in other threads comes from.")},
    {Py_tp_dealloc, slot(destroy)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"_erlang.Origin", sizeof(OriginObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyObject* current_namespace(PyObject* module, PyObject*) noexcept {
  const RequestScope* scope = current_scope();
  // Of work whose request has ended it is that of the request still.
  if (scope != nullptr && scope->home == nullptr) scope = scope_now(module);
  const bool shown = scope != nullptr && scope->home != nullptr && *scope->home;
  return Py_NewRef(shown ? (*scope->home)->globals() : Py_None);
}

PyMethodDef functions[] = {
    {"origin", method(origin), METH_NOARGS,
     "origin() -> Origin | None\n\nThe request that the calling thread runs or works for."},
    {"namespace", method(current_namespace), METH_NOARGS,
     "namespace() -> dict | None\n\nThe namespace of the request that the calling thread runs or works for, or has "
     "worked for."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_origin_type(PyObject* module) {
  auto type = PyRef::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  if (!type || PyModule_AddObjectRef(module, "Origin", type.get()) != 0) return false;
  erlang_module_state(module).origin_type = type.release();
  return PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace erlang_python
