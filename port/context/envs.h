#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "python/py_ref.h"

namespace erlang_python {

/// The namespaces of a context: the shared one and one per Erlang process that has one. Use only on the context's
/// thread, attached.
class Envs {
 public:
  /// Makes the shared namespace. False with a Python error set.
  bool open();

  /// Keeps what the preload has defined: every env begins with a copy of it.
  bool keep_preload();

  PyObject* shared() const { return shared_.get(); }

  /// The namespace of an env, made on first use; the shared one for 0. Null with a Python error set. A request that
  /// comes after its env was dropped, since its process died in between, gets one that nobody keeps.
  PyObject* get(std::uint64_t env);
  /// The namespace of an env if it exists, else null without an error; null for 0.
  PyObject* find(std::uint64_t env) const;
  void drop(std::uint64_t env);
  std::size_t size() const { return envs_.size(); }

 private:
  PyRef shared_;
  PyRef preload_;
  std::unordered_map<std::uint64_t, PyRef> envs_;
  std::unordered_set<std::uint64_t> dropped_;
  std::deque<std::uint64_t> dropped_order_;  ///< oldest first
  PyRef late_;
};

}  // namespace erlang_python
