#include "loop/loop_module.h"

#include "loop/epoll.h"
#include "python/entry.h"
#include "python/module_slots.h"

namespace erlang_python {
namespace {

PyObject* in_main_interpreter(PyObject*, PyObject*) noexcept {
  return PyBool_FromLong(PyInterpreterState_Get() == PyInterpreterState_Main() ? 1 : 0);
}

PyMethodDef methods[] = {
    {"in_main_interpreter", method(in_main_interpreter), METH_NOARGS,
     "in_main_interpreter() -> bool\n\nFalse in the subinterpreter of an owngil context."},
    {nullptr, nullptr, 0, nullptr},
};

int exec_module(PyObject* module) noexcept { return add_epoll_type(module) ? 0 : -1; }

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_erlang_loop",
    "What erlang.ErlangEventLoop sleeps in.",
    0,
    methods,
    module_slots<exec_module>(),
    nullptr,
    nullptr,
    nullptr,
};

PyObject* init_module() noexcept { return PyModuleDef_Init(&definition); }

}  // namespace

void register_loop_module() { PyImport_AppendInittab("_erlang_loop", init_module); }

}  // namespace erlang_python
