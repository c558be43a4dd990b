#include "sandbox/sandbox.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>

namespace erlang_python {
namespace {

/// Without symbolic links; empty when there is no such file.
std::string resolved(const std::string& path) {
  std::array<char, PATH_MAX> buffer{};
  return realpath(path.c_str(), buffer.data()) != nullptr ? std::string(buffer.data()) : std::string();
}

}  // namespace

void Sandbox::set_import_roots(const std::vector<std::string>& roots) {
  const MutexLock lock(mu_);
  if (import_roots_) return;
  import_roots_.emplace();
  for (const std::string& root : roots) {
    // The working directory ("") is nobody's in particular.
    if (const std::string path = root.empty() || root[0] != '/' ? "" : resolved(root); !path.empty()) {
      import_roots_->push_back(path);
    }
  }
}

bool Sandbox::is_importable(const std::string& file) const {
  const MutexLock lock(mu_);
  // Until then only what the pool's configuration names has run.
  if (!import_roots_) return true;
  const std::string path = resolved(file);
  return std::any_of(import_roots_->begin(), import_roots_->end(), [&path](const std::string& root) {
    return path.size() > root.size() && path.compare(0, root.size(), root) == 0 &&
           (root.back() == '/' || path[root.size()] == '/');
  });
}

Status Sandbox::restrict_process() {
  const MutexLock lock(mu_);
  if (!restricted_) restricted_ = level_ == SandboxLevel::kKernel ? apply_rules() : Status();
  return *restricted_;
}

}  // namespace erlang_python
