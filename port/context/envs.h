#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "python/namespace.h"
#include "python/variables.h"

namespace erlang_python {

/// The namespaces of a context: the shared one and one per Erlang process that has one. Attached, with a GIL: the
/// context's thread, and threads that Python started, whose guests have namespaces too. Another of them may come in
/// whenever Python code runs, so nothing here is held on to across that.
class Envs {
 public:
  /// Makes the shared namespace. False with a Python error set.
  bool open();

  /// Keeps what the preload has defined and set: every env begins with a copy of it.
  bool keep_preload();

  const std::shared_ptr<Namespace>& shared() const { return shared_; }

  /// The namespace of an env, made on first use; null with a Python error set. The shared one for kNoEnv and
  /// kSharedEnv. A request that comes after its env was dropped, since its process died in between, gets one that
  /// nobody keeps.
  std::shared_ptr<Namespace> get(std::uint64_t env);
  void drop(std::uint64_t env);
  std::size_t size() const { return envs_.size(); }
  LeftoverCollector& leftovers() const { return *leftovers_; }

  /// For a request of a process that has no namespace: what a new one would have. Null with a Python error set.
  PyRef first_variables() const { return variables_.make(); }

 private:
  std::shared_ptr<Namespace> make() const;

  PyRef module_;  ///< `_erlang`, which has the collector of the interpreter
  LeftoverCollector* leftovers_ = nullptr;
  std::shared_ptr<Namespace> shared_;
  PyRef preload_;
  FirstVariables variables_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Namespace>> envs_;
  std::unordered_set<std::uint64_t> dropped_;
  std::deque<std::uint64_t> dropped_order_;  ///< oldest first
};

}  // namespace erlang_python
