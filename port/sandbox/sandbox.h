#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/sandbox_rules.h"

namespace erlang_python {

/// What the Python process may not do, by the pool option sandbox. Outlives Python, which is never ended.
///
/// default: no signals to processes outside (Landlock), where the kernel can; os.fork and os.exec are refused by the
/// audit hook. strict: the audit hook and seccomp refuse processes, changes of files, sockets, native code from
/// elsewhere. kernel: Landlock and seccomp by rules, for hostile native code too.
class Sandbox {
 public:
  Sandbox(SandboxLevel level, SandboxRules rules) : level_(level), rules_(std::move(rules)) {}
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  /// What holds from the start on. While the process has one thread, before Python starts, after the last fork of ours.
  Status confine_process();

  /// What waits for the preload: RESTRICT, when all contexts have started. Any thread; all threads are restricted when
  /// it returns. Says the same again when it is asked again.
  Status restrict_process();

  /// Where Python finds its modules. The first call decides: later ones come from interpreters that hostile code
  /// shares.
  void set_import_roots(const std::vector<std::string>& roots);
  /// Whether a file of native code is Python's own, its environment's or in a configured path. Any thread.
  bool is_importable(const std::string& file) const;

  SandboxLevel level() const { return level_; }
  /// For READY: what the kernel keeps inside, once the process serves.
  const std::vector<std::string_view>& confined() const { return confined_; }

 private:
  Status confine_signals(std::uint64_t scopes);
  Status apply_rules() REQUIRES(mu_);
  std::vector<std::string> readable() const REQUIRES(mu_);

  const SandboxLevel level_;
  const SandboxRules rules_;
  std::vector<std::string_view> confined_;

  mutable Mutex mu_;
  std::optional<std::vector<std::string>> import_roots_ GUARDED_BY(mu_);
  std::optional<Status> restricted_ GUARDED_BY(mu_);
  UniqueFd own_proc_ GUARDED_BY(mu_);
};

}  // namespace erlang_python
