#include "context/envs.h"

#include <utility>

#include "callback/erlang_module.h"
#include "protocol/messages.h"

namespace erlang_python {
namespace {

// More than requests can be on their way when a process dies.
constexpr std::size_t kRememberedDrops = 4096;

/// What a module has, so that it does not come from builtins: a description of `__doc__` would be that of all
/// built-ins.
bool looks_like_main(PyObject* globals) {
  auto erlang = PyRef::steal(PyImport_ImportModule("erlang"));
  auto builtins = PyRef::steal(PyImport_ImportModule("builtins"));
  auto name = PyRef::steal(PyUnicode_InternFromString("__main__"));
  auto machinery = PyRef::steal(PyImport_ImportModule("importlib.machinery"));
  // As in `python -c`.
  auto loader = machinery ? PyRef::steal(PyObject_GetAttrString(machinery.get(), "BuiltinImporter")) : PyRef();
  if (!erlang || !builtins || !name || !loader) return false;
  const std::pair<const char*, PyObject*> entries[] = {
      {"__doc__", Py_None},         {"__package__", Py_None}, {"__spec__", Py_None},
      {"__loader__", loader.get()}, {"__name__", name.get()}, {"__builtins__", builtins.get()},
      {"erlang", erlang.get()},
  };
  for (const auto& [key, value] : entries) {
    if (PyDict_SetItemString(globals, key, value) != 0) return false;
  }
  return true;
}

}  // namespace

bool Envs::open() {
  module_ = PyRef::steal(PyImport_ImportModule("_erlang"));
  auto globals = PyRef::steal(PyDict_New());
  auto variables = PyRef::steal(PyContext_New());
  if (!module_ || !globals || !variables || !looks_like_main(globals.get())) return false;
  leftovers_ = &erlang_module_state(module_.get()).leftovers;
  shared_ = std::make_shared<Namespace>(std::move(globals), std::move(variables), PyRef(), *leftovers_);
  return true;
}

bool Envs::keep_preload() {
  preload_ = PyRef::steal(PyDict_Copy(shared_->globals()));
  leftovers_->open();
  return preload_ && variables_.keep(shared_->variables());
}

std::shared_ptr<Namespace> Envs::make() const {
  auto globals = PyRef::steal(PyDict_Copy(preload_.get()));
  auto variables = globals ? variables_.make() : PyRef();
  if (!variables) return nullptr;
  return std::make_shared<Namespace>(std::move(globals), std::move(variables), preload_.copy(), *leftovers_);
}

std::shared_ptr<Namespace> Envs::get(std::uint64_t env) {
  if (env == kNoEnv || env == kSharedEnv) return shared_;
  if (dropped_.contains(env)) return make();
  if (const auto found = envs_.find(env); found != envs_.end()) return found->second;
  // Runs Python code, and meanwhile others may make it too, or drop it.
  auto made = make();
  if (!made || dropped_.contains(env)) return made;
  return envs_.try_emplace(env, std::move(made)).first->second;
}

void Envs::drop(std::uint64_t env) {
  dropped_.insert(env);
  dropped_order_.push_back(env);
  if (dropped_order_.size() > kRememberedDrops) {
    dropped_.erase(dropped_order_.front());
    dropped_order_.pop_front();
  }
  const auto dropped = envs_.extract(env);  // its end may come back here
}

}  // namespace erlang_python
