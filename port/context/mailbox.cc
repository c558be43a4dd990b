#include "context/mailbox.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <utility>

namespace erlang_python {
namespace {

bool is_cancel(const Request& request) { return request.message.operation == Operation::kCancel; }

}  // namespace

Mailbox::Mailbox() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

bool Mailbox::push(Request request) {
  const MutexLock lock(mu_);
  const bool sleeper = asleep_for_ && asleep_for_->includes(request.message);
  const bool wakes = sleeper || (watched_for_ && watched_for_->includes(request.message));
  const bool nested = is_nested(request.message) && !request.rest.work;
  returned_in_chains_ += returns_in_chain(request) ? 1 : 0;
  cancels_ += is_cancel(request) ? 1 : 0;
  (nested ? nested_ : ordinary_).push_back(std::move(request));
  count();
  if (sleeper) asleep_for_.reset();
  return wakes;
}

void Mailbox::count() {
  nested_size_.store(nested_.size() + returned_in_chains_, std::memory_order_release);
  size_.store(nested_.size() + ordinary_.size(), std::memory_order_release);
}

void Mailbox::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(bell_.get(), &one, sizeof one);
}

void Mailbox::alarm() {
  {
    const MutexLock lock(mu_);
    alarm_.store(true);
    const bool sleeper = asleep_for_ && asleep_for_->nested_only;
    if (!sleeper && !watched_for_) return;
    if (sleeper) asleep_for_.reset();
  }
  wake();
}

std::optional<Request> Mailbox::pop(const Wanted& wanted) {
  if (wanted.nested_only ? nested_size_.load(std::memory_order_acquire) == 0 : empty()) return std::nullopt;
  const MutexLock lock(mu_);
  std::optional<Request> request;
  for (std::deque<Request>* lane : {&nested_, &ordinary_}) {
    if (lane == &ordinary_ && wanted.nested_only && returned_in_chains_ == 0) break;
    const auto found =
        std::ranges::find_if(*lane, [&wanted](const Request& waiting) { return wanted.includes(waiting.message); });
    if (found == lane->end()) continue;
    request.emplace(std::move(*found));
    found == lane->begin() ? lane->pop_front() : static_cast<void>(lane->erase(found));
    cancels_ -= is_cancel(*request) ? 1 : 0;
    returned_in_chains_ -= returns_in_chain(*request) ? 1 : 0;
    break;
  }
  count();
  return request;
}

bool Mailbox::has(const Wanted& wanted) const {
  if (!wanted.nested_only) return !empty();
  if (alarm_.load(std::memory_order_acquire)) return true;
  if (nested_size_.load(std::memory_order_acquire) == 0) return false;
  const MutexLock lock(mu_);
  return has_locked(wanted);
}

bool Mailbox::has_locked(const Wanted& wanted) const {
  if (!wanted.nested_only) return !nested_.empty() || !ordinary_.empty();
  const auto is_wanted = [&wanted](const Request& waiting) { return wanted.includes(waiting.message); };
  return alarm_.load() || std::ranges::any_of(nested_, is_wanted) ||
         (returned_in_chains_ != 0 && std::ranges::any_of(ordinary_, is_wanted));
}

void Mailbox::sleep(const Sleep& how, const Wanted& wanted) {
  {
    const MutexLock lock(mu_);
    if (has_locked(wanted)) return;
    asleep_for_ = wanted;
  }
  // Negative descriptors are passed over.
  std::array<pollfd, 3> fds{{{bell_.get(), POLLIN, 0}, {how.stdin_fd, POLLIN, 0}, {how.loop_fd, POLLIN, 0}}};
  poll(fds.data(), fds.size(), how.timeout_ms);
  if (fds[0].revents != 0) hush();
  const MutexLock lock(mu_);
  asleep_for_.reset();
}

bool Mailbox::any(const std::function<bool(const Request&)>& is_it) const {
  if (empty()) return false;
  const MutexLock lock(mu_);
  return std::any_of(nested_.begin(), nested_.end(), is_it) || std::any_of(ordinary_.begin(), ordinary_.end(), is_it);
}

void Mailbox::hush() {
  std::uint64_t rings = 0;
  [[maybe_unused]] const ssize_t n = read(bell_.get(), &rings, sizeof rings);
}

void Mailbox::watch(const std::optional<Wanted>& wanted) {
  {
    const MutexLock lock(mu_);
    watched_for_ = wanted;
    if (!wanted || !has_locked(*wanted)) return;
  }
  wake();
}

std::vector<Request> Mailbox::remove_if(const std::function<bool(const Request&)>& unwanted) {
  std::vector<Request> removed;
  if (empty()) return removed;
  const MutexLock lock(mu_);
  const auto goes = [&unwanted](const Request& request) { return !request.is_husk() && unwanted(request); };
  for (std::deque<Request>* lane : {&nested_, &ordinary_}) {
    auto next = std::ranges::find_if(*lane, goes);
    if (next == lane->end()) continue;  // the common case, thousands of times when thousands are cancelled
    std::deque<Request> kept(std::make_move_iterator(lane->begin()), std::make_move_iterator(next));
    for (bool unwanted_one = true; next != lane->end(); unwanted_one = ++next != lane->end() && goes(*next)) {
      if (!unwanted_one) {
        kept.push_back(std::move(*next));
        continue;
      }
      if (next->rest.work) {
        returned_in_chains_ -= returns_in_chain(*next) ? 1 : 0;
        kept.push_back(Request::husk(std::move(next->rest)));
      }
      removed.push_back(std::move(*next));
    }
    *lane = std::move(kept);
  }
  cancels_ -= static_cast<std::size_t>(std::ranges::count_if(removed, is_cancel));
  count();
  return removed;
}

}  // namespace erlang_python
