#include "request/origin.h"

#include <algorithm>
#include <utility>

#include "python/standing_thread.h"

namespace erlang_python {
std::shared_ptr<Origin> Origin::begin(const Facts& facts, std::shared_ptr<Namespace> home,
                                      std::shared_ptr<Origin> above) {
  auto origin = std::make_shared<Origin>(facts, std::move(home), std::move(above));
  Origin* const plain = origin.get();
  return {plain, [kept = std::move(origin)](Origin*) mutable {
            kept->end();
            kept.reset();
          }};
}

Origin::Origin(const Facts& facts, std::shared_ptr<Namespace> home, std::shared_ptr<Origin> above)
    : caller_(facts.caller.begin(), facts.caller.end()),
      facts_{facts.context, facts.env, 0, facts.nesting, caller_},
      home_(std::move(home)),
      above_(std::move(above)),
      chain_(facts.chain) {}

std::uint64_t Origin::chain_or(std::uint64_t fresh) {
  std::uint64_t chain = 0;
  return chain_.compare_exchange_strong(chain, fresh) ? fresh : chain;
}

Belonging Origin::belonging() const {
  const Belonging above = above_ ? above_->belonging() : Belonging();
  const MutexLock lock(mu_);
  return above.with_guest(belonging_);
}

Origin::Worker::Worker(Kind of_kind, const WorkScope& of_scope)
    : kind(of_kind),
      scope(of_scope),
      thread(current_thread()),
      state(PyThreadState_Get()),
      ident(PyThread_get_thread_ident()),
      slot(current_thread().wake_slot) {}

void Origin::enter(Worker& worker) {
  if (above_) above_->enter(worker);
  const MutexLock lock(mu_);
  workers_.push_back(&worker);
}

void Origin::leave(Worker& worker) {
  {
    const MutexLock lock(mu_);
    workers_.erase(std::find(workers_.begin(), workers_.end(), &worker));
  }
  if (above_) above_->leave(worker);
}

void Origin::tell() {
  const MutexLock lock(mu_);
  belonging_.tell();
  for (Worker* const worker : workers_) interrupt(*worker);
}

void Origin::interrupt(Worker& worker) {
  if (worker.thread.work != &worker.scope) return;
  // It is told again when the request is: an interrupt may do no harm meanwhile.
  if (kThreadStands &&
      (is_importing(worker.state) || (worker.kind == Worker::Kind::kThread && is_starting_or_ending(worker.state)))) {
    return;
  }
  worker.told = true;
  PyThreadState_SetAsyncExc(worker.ident, PyExc_KeyboardInterrupt);
  worker.slot.wake();
}

void Origin::end() {
  const MutexLock lock(mu_);
  belonging_.end();
}

}  // namespace erlang_python
