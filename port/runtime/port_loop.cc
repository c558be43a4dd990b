#include "runtime/port_loop.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "base/clock.h"
#include "runtime/crash_handler.h"
#include "runtime/leaving.h"

namespace erlang_python {
namespace {

constexpr std::uint64_t kTendOutputMs = 200;
constexpr std::int64_t kWatchPeriodMs = 10;
constexpr std::int64_t kPipesPeriodMs = 200;
// Of the second that the keepers leave to Python when the node is gone.
constexpr std::uint64_t kLeaveMs = 900;

PortLoop* self(void* data) { return static_cast<PortLoop*>(data); }

}  // namespace

PortLoop::PortLoop(Parts parts) : parts_(parts) {}

Status PortLoop::open() {
  const auto failed = [](const char* what, int code) { return Error{std::string(what) + ": " + uv_strerror(code)}; };
  if (int code = uv_loop_init(&loop_); code != 0) return failed("libuv loop", code);
  if (int code = uv_async_init(&loop_, &doorbell_, [](uv_async_t* h) noexcept { self(h->data)->on_doorbell(); });
      code != 0) {
    return failed("libuv async", code);
  }
  doorbell_.data = this;
  struct Watch {
    uv_poll_t* handle;
    int fd;
  };
  for (const Watch& watch :
       {Watch{&stdin_poll_, parts_.reader.fd()}, Watch{&stdout_poll_, parts_.writer.fd()},
        Watch{&captured_out_poll_, parts_.captured_out}, Watch{&captured_error_poll_, parts_.captured_error},
        Watch{&tick_poll_, parts_.ticker.fd()}}) {
    if (int code = uv_poll_init(&loop_, watch.handle, watch.fd); code != 0) return failed("libuv poll", code);
    watch.handle->data = this;
  }
  uv_timer_init(&loop_, &tend_timer_);
  tend_timer_.data = this;
  uv_timer_init(&loop_, &leave_timer_);

  start_watching_stdin();
  uv_poll_start(&captured_out_poll_, UV_READABLE, [](uv_poll_t* h, int, int) noexcept {
    self(h->data)->on_captured(1, self(h->data)->parts_.captured_out);
  });
  uv_poll_start(&captured_error_poll_, UV_READABLE, [](uv_poll_t* h, int, int) noexcept {
    self(h->data)->on_captured(2, self(h->data)->parts_.captured_error);
  });
  uv_poll_start(&tick_poll_, UV_READABLE, [](uv_poll_t* h, int, int) noexcept { self(h->data)->on_tick(); });
  return {};
}

void PortLoop::run() {
  uv_run(&loop_, UV_RUN_DEFAULT);
  std::abort();  // the handles above are never closed, so the loop never ends
}

void PortLoop::ring(Errand errand) {
  errands_.fetch_or(errand, std::memory_order_acq_rel);
  uv_async_send(&doorbell_);
}

void PortLoop::on_doorbell() {
  const std::uint32_t errands = errands_.exchange(0, std::memory_order_acq_rel);
  if ((errands & kWatchStdin) != 0) start_watching_stdin();
  if ((errands & kDrainStdout) != 0) on_stdout_writable();
  if ((errands & kPythonEnded) != 0) on_python_ended();
  if ((errands & kInputEnded) != 0) on_input_ended();
  if (python_ended_ && input_ended_) leave_at_end_of_input();
  if ((errands & kTendOutput) != 0 && uv_is_active(reinterpret_cast<uv_handle_t*>(&tend_timer_)) == 0) {
    uv_timer_start(
        &tend_timer_, [](uv_timer_t* h) noexcept { self(h->data)->parts_.output.tend(); }, kTendOutputMs, 0);
  }
}

void PortLoop::on_python_ended() {
  python_ended_ = true;
  drain_captured(1, parts_.captured_out);
  drain_captured(2, parts_.captured_error);
  parts_.output.tend();
  TermWriter out;
  begin_notice(out, Notice::kEnded, 0);
  finish_frame(out);
  parts_.writer.send(out.bytes());
}

void PortLoop::on_input_ended() {
  input_ended_ = true;
  uv_poll_stop(&stdin_poll_);
  uv_timer_start(
      &leave_timer_, [](uv_timer_t*) noexcept { leave_at_end_of_input(); }, kLeaveMs, 0);
}

void PortLoop::start_watching_stdin() {
  if (parts_.reader.fd() < 0) return;
  uv_poll_start(&stdin_poll_, UV_READABLE | UV_DISCONNECT,
                [](uv_poll_t* h, int, int) noexcept { self(h->data)->on_stdin_readable(); });
}

void PortLoop::on_stdin_readable() {
  if (!parts_.reader.leadership().loop_begin_reading()) {
    // A context reads. Whoever gives the leadership back to the loop asks for the watch again.
    uv_poll_stop(&stdin_poll_);
    if (!parts_.reader.leadership().snapshot().loop) return;
    start_watching_stdin();  // it was given back between the two looks
    return;
  }
  batch_.clear();
  parts_.reader.read_once(parts_.dispatcher, 0, batch_);
  parts_.reader.leadership().loop_end_reading();
  for (const auto& sleeper : batch_.asleep) sleeper->wake();
  batch_.clear();
}

void PortLoop::on_stdout_writable() {
  if (parts_.writer.drain()) {
    uv_poll_stop(&stdout_poll_);
    return;
  }
  uv_poll_start(&stdout_poll_, UV_WRITABLE,
                [](uv_poll_t* h, int, int) noexcept { self(h->data)->on_stdout_writable(); });
}

std::size_t PortLoop::on_captured(int fd, int pipe) {
  std::array<std::uint8_t, 64 * 1024> bytes;
  const ForwardingOutput in_hand;
  const ssize_t n = read(pipe, bytes.data(), bytes.size());
  if (n <= 0) return 0;
  parts_.output.write(fd, 0, {bytes.data(), static_cast<std::size_t>(n)});
  return static_cast<std::size_t>(n);
}

/// What was written before is in the pipe; a child that goes on writing must not keep the port from its end.
void PortLoop::drain_captured(int fd, int pipe) {
  int waiting = 0;
  if (ioctl(pipe, FIONREAD, &waiting) != 0) return;
  for (auto left = static_cast<std::size_t>(waiting); left > 0;) {
    const std::size_t taken = on_captured(fd, pipe);
    if (taken == 0) return;
    left -= std::min(left, taken);
  }
}

void PortLoop::on_tick() {
  parts_.ticker.acknowledge();
  parts_.writer.tick();
  const auto now = parts_.reader.leadership().snapshot();
  const bool stuck = now.running && running_at_last_tick_ && now.turn == turn_at_last_tick_;
  if (stuck && parts_.reader.leadership().loop_steal(now.turn)) start_watching_stdin();
  running_at_last_tick_ = now.running;
  turn_at_last_tick_ = now.turn;

  const std::int64_t time = now_ns();
  if (time - watched_ns_ >= kWatchPeriodMs * kNsPerMs) {
    watched_ns_ = time;
    parts_.watched.watch(time);
  }
  if (time - pipes_seen_ns_ >= kPipesPeriodMs * kNsPerMs) {
    pipes_seen_ns_ = time;
    if (!requests_.holds() || !replies_.holds()) leave_without_pipes();
  }
  const auto idle = [this] { return !parts_.watched.busy() && !parts_.writer.has_batches(); };
  if (idle()) {
    parts_.ticker.disarm();
    if (!idle()) parts_.ticker.ensure_armed();
  }
}

}  // namespace erlang_python
