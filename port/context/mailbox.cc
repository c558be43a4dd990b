#include "context/mailbox.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <utility>

namespace erlang_python {

Mailbox::Mailbox() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

bool Mailbox::push(Request request) {
  const std::scoped_lock lock(mu_);
  requests_.push_back(std::move(request));
  size_.store(requests_.size(), std::memory_order_release);
  return std::exchange(asleep_, false);
}

void Mailbox::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(bell_.get(), &one, sizeof one);
}

std::optional<Request> Mailbox::pop() {
  if (empty()) return std::nullopt;
  const std::scoped_lock lock(mu_);
  if (requests_.empty()) return std::nullopt;
  std::optional<Request> request(std::move(requests_.front()));
  requests_.pop_front();
  size_.store(requests_.size(), std::memory_order_release);
  return request;
}

void Mailbox::sleep(int also_fd) {
  {
    const std::scoped_lock lock(mu_);
    if (!requests_.empty()) return;
    asleep_ = true;
  }
  std::array<pollfd, 2> fds{{{bell_.get(), POLLIN, 0}, {also_fd, POLLIN, 0}}};
  poll(fds.data(), also_fd >= 0 ? 2 : 1, -1);
  if (fds[0].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(bell_.get(), &count, sizeof count);
  }
  const std::scoped_lock lock(mu_);
  asleep_ = false;
}

std::vector<Request> Mailbox::remove_if(const std::function<bool(const Request&)>& unwanted) {
  std::vector<Request> removed;
  if (empty()) return removed;
  const std::scoped_lock lock(mu_);
  std::deque<Request> kept;
  for (Request& request : requests_) {
    if (unwanted(request)) {
      removed.push_back(std::move(request));
    } else {
      kept.push_back(std::move(request));
    }
  }
  requests_ = std::move(kept);
  size_.store(requests_.size(), std::memory_order_release);
  return removed;
}

}  // namespace erlang_python
