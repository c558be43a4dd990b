#include "callback/work_scope.h"

#include <utility>

namespace erlang_python {

WorkScope::WorkScope(const Asker& asker, const std::shared_ptr<Origin>& origin, Origin::Worker::Kind kind)
    : asker_(asker),
      waiter_(asker_),
      worker_(kind, *this),
      outer_(std::exchange(current_thread().work, this)),
      before_(current_scope()) {
  const Origin::Facts& facts = origin->facts();
  scope_.context = facts.context;
  scope_.env = facts.env;
  scope_.caller = facts.caller;
  scope_.nesting = facts.nesting;
  scope_.waiter = &waiter_;
  scope_.varies = true;
  scope_.home = &origin->home();
  scope_.origin = origin;
  if (outer_ != nullptr) outer_->inner_ = this;
  origin->enter(worker_);
  set_current_scope(&scope_);
}

WorkScope::~WorkScope() {
  scope_.origin->leave(worker_);
  // What was set and not raised yet must not hit what the thread does next.
  if (worker_.told && worker_.state->async_exc != nullptr) PyThreadState_SetAsyncExc(worker_.ident, nullptr);
  if (outer_ != nullptr) outer_->inner_ = inner_;
  if (inner_ == nullptr) {
    current_thread().work = outer_;
    set_current_scope(before_);
    return;
  }
  inner_->outer_ = outer_;
  if (inner_->before_ == &scope_) inner_->before_ = before_;
}

}  // namespace erlang_python
