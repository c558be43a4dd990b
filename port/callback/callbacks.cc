#include "callback/callbacks.h"

#include <unistd.h>

#include <algorithm>

#include "base/chain.h"
#include "base/clock.h"

namespace erlang_python {
namespace {

// The clock counts the same for all port processes of a machine; the lower bits tell those apart that begin a chain in
// the same instant. Two that are the same all the same serve each other, which does no harm.
constexpr unsigned kProcessBits = 4;
constexpr unsigned kBelowTime = kProcessBits + kLineBits;

}  // namespace

void Callbacks::set_functions(std::vector<std::string> names) {
  const MutexLock lock(functions_mu_);
  functions_.clear();
  for (std::string& name : names) functions_.insert(std::move(name));
  has_functions_ = !functions_.empty();
}

bool Callbacks::is_registered(std::string_view name) const {
  const MutexLock lock(functions_mu_);
  return functions_.find(name) != functions_.end();
}

std::vector<std::string> Callbacks::functions() const {
  const MutexLock lock(functions_mu_);
  return {functions_.begin(), functions_.end()};
}

std::uint64_t Callbacks::new_chain() {
  const auto process = (static_cast<std::uint64_t>(getpid()) & ((1U << kProcessBits) - 1)) << kLineBits;
  const std::uint64_t now = (static_cast<std::uint64_t>(now_ns()) >> kBelowTime << kBelowTime) | process;
  std::uint64_t last = last_chain_.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint64_t next = std::max(now, last + (std::uint64_t{1} << kBelowTime));
    if (last_chain_.compare_exchange_weak(last, next, std::memory_order_relaxed)) return next;
  }
}

std::uint64_t Callbacks::add(Waiter waiter) {
  const std::uint64_t id = next_id_.fetch_add(2, std::memory_order_relaxed);
  const MutexLock lock(waiting_mu_);
  if (waiter.chain != 0) servers_[waiter.chain].push_back(id);
  const auto added = waiting_.emplace(id, std::move(waiter)).first;
  if (closed()) refuse(id, added->second);
  return id;
}

void Callbacks::close() {
  const MutexLock lock(waiting_mu_);
  closed_.store(true, std::memory_order_release);
  for (const auto& [id, waiter] : waiting_) refuse(id, waiter);
}

void Callbacks::refuse(std::uint64_t id, const Waiter& waiter) {
  if (const auto* inbox = std::get_if<std::shared_ptr<Inbox>>(&waiter.place)) return (*inbox)->put(id, Answer{});
  Thread& thread = *std::get<std::shared_ptr<Thread>>(waiter.place);
  if (!thread.answer) thread.answer.emplace();
  thread.bell.notify_one();
}

std::uint64_t Callbacks::begin_thread(std::uint64_t chain, ContextId context) {
  return add({std::make_shared<Thread>(), chain, context});
}

std::uint64_t Callbacks::begin_in(std::shared_ptr<Inbox> inbox) { return add({std::move(inbox)}); }

std::uint64_t Callbacks::begin_in_thread(std::shared_ptr<Inbox> inbox, std::uint64_t chain, ContextId context) {
  return add({std::move(inbox), chain, context});
}

std::variant<Answer, Request, Callbacks::Woken> Callbacks::await(std::uint64_t id) {
  const MutexLock lock(waiting_mu_);
  Thread& thread = *std::get<std::shared_ptr<Thread>>(waiting_.at(id).place);
  while (!thread.answer && thread.nested.empty() && !thread.woken) thread.bell.wait(waiting_mu_);
  if (std::exchange(thread.woken, false)) return Woken{};
  if (!thread.nested.empty()) {
    Request next = std::move(thread.nested.front());
    thread.nested.pop_front();
    return next;
  }
  Answer answer = std::move(*thread.answer);
  erase(waiting_.find(id));
  return answer;
}

void Callbacks::erase(Waiting::iterator waiter) {
  if (waiter->second.chain != 0) {
    const auto found = servers_.find(waiter->second.chain);
    std::erase(found->second, waiter->first);
    if (found->second.empty()) servers_.erase(found);
  }
  waiting_.erase(waiter);
}

void Callbacks::wake(std::uint64_t id) {
  const MutexLock lock(waiting_mu_);
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  Thread& thread = *std::get<std::shared_ptr<Thread>>(found->second.place);
  thread.woken = true;
  thread.bell.notify_one();
}

std::deque<Request> Callbacks::give_up(std::uint64_t id) {
  const MutexLock lock(waiting_mu_);
  const auto found = waiting_.find(id);
  const auto thread = std::get<std::shared_ptr<Thread>>(found->second.place);
  erase(found);
  return std::move(thread->nested);
}

bool Callbacks::forget(std::uint64_t id) {
  const MutexLock lock(waiting_mu_);
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return false;
  erase(found);
  return true;
}

bool Callbacks::offer(Request& request, bool in_main_interpreter) {
  const MutexLock lock(waiting_mu_);
  const auto found = servers_.find(request.message.chain);
  if (found == servers_.end()) return false;
  const Waiter& waiter = waiting_.at(found->second.back());
  if (waiter.context != (in_main_interpreter ? 0 : request.message.context)) return false;
  if (const auto* inbox = std::get_if<std::shared_ptr<Inbox>>(&waiter.place)) {
    (*inbox)->put(std::move(request));
    return true;
  }
  Thread& thread = *std::get<std::shared_ptr<Thread>>(waiter.place);
  if (thread.answer) return false;
  thread.nested.push_back(std::move(request));
  thread.bell.notify_one();
  return true;
}

void Callbacks::deliver(std::uint64_t id, Answer answer) {
  std::shared_ptr<Inbox> inbox;
  {
    const MutexLock lock(waiting_mu_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return;
    if (auto* thread = std::get_if<std::shared_ptr<Thread>>(&found->second.place)) {
      (*thread)->answer = std::move(answer);
      (*thread)->bell.notify_one();
      return;
    }
    inbox = std::get<std::shared_ptr<Inbox>>(std::move(found->second.place));
    erase(found);
  }
  inbox->put(id, std::move(answer));
}

}  // namespace erlang_python
