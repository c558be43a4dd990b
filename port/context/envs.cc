#include "context/envs.h"

namespace erlang_python {
namespace {

// More than requests can be on their way when a process dies.
constexpr std::size_t kRememberedDrops = 4096;

}  // namespace

bool Envs::open() {
  auto erlang = PyRef::steal(PyImport_ImportModule("erlang"));
  auto builtins = PyRef::steal(PyImport_ImportModule("builtins"));
  auto main = PyRef::steal(PyUnicode_InternFromString("__main__"));
  shared_ = PyRef::steal(PyDict_New());
  return erlang && builtins && main && shared_ && PyDict_SetItemString(shared_.get(), "__name__", main.get()) == 0 &&
         PyDict_SetItemString(shared_.get(), "__builtins__", builtins.get()) == 0 &&
         PyDict_SetItemString(shared_.get(), "erlang", erlang.get()) == 0;
}

bool Envs::keep_preload() {
  preload_ = PyRef::steal(PyDict_Copy(shared_.get()));
  return static_cast<bool>(preload_);
}

PyObject* Envs::get(std::uint64_t env) {
  if (env == 0) return shared_.get();
  if (dropped_.contains(env)) {
    late_ = PyRef::steal(PyDict_Copy(preload_.get()));
    return late_.get();
  }
  PyRef& dict = envs_[env];
  if (!dict) dict = PyRef::steal(PyDict_Copy(preload_.get()));
  return dict.get();
}

PyObject* Envs::find(std::uint64_t env) const {
  const auto found = envs_.find(env);
  return found == envs_.end() ? nullptr : found->second.get();
}

void Envs::drop(std::uint64_t env) {
  dropped_.insert(env);
  dropped_order_.push_back(env);
  if (dropped_order_.size() > kRememberedDrops) {
    dropped_.erase(dropped_order_.front());
    dropped_order_.pop_front();
  }
  late_ = PyRef();
  auto node = envs_.extract(env);
  if (node.empty()) return;
  // Functions defined in a namespace refer to it: without this every such namespace would wait for the cycle collector.
  PyDict_Clear(node.mapped().get());
}

}  // namespace erlang_python
