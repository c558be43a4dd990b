#include "runtime/crash_handler.h"

#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace erlang_python {
namespace {

constexpr std::size_t kSignalStackBytes = 128 * 1024;  // faulthandler formats its report on it
constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// A signal handler has no argument of its own: these are set once, before the handlers are installed.
StdoutWriter* crash_writer = nullptr;
std::array<int, 2> capture_fds = {-1, -1};
std::atomic<int> forwarding = 0;

/// {5, Fd, 0, Line} by hand: nothing here may allocate.
void send_line(int fd, const std::uint8_t* line, std::size_t length) noexcept {
  constexpr std::size_t kMaxLine = 3800;  // a write of at most PIPE_BUF bytes is atomic
  length = std::min(length, kMaxLine);
  std::array<std::uint8_t, kMaxLine + 32> frame;
  const std::array<std::uint8_t, 13> head = {131, 104, 4,   97, 5, 97, static_cast<std::uint8_t>(fd),
                                             97,  0,   109, 0,  0, 0};
  std::uint8_t* p = frame.data() + kLengthBytes;
  std::memcpy(p, head.data(), 10);
  p += 10;
  write_be32(p, length);
  p += 4;
  std::memcpy(p, line, length);
  p += length;
  const auto total = static_cast<std::size_t>(p - frame.data());
  write_be32(frame.data(), total - kLengthBytes);
  crash_writer->send_from_signal_handler({frame.data(), total});
}

void forward_last_words(int fd, int pipe) noexcept {
  static std::array<std::uint8_t, 16 * 1024> words;  // not on the signal stack; one thread dies at a time
  for (ssize_t n = read(pipe, words.data(), words.size()); n > 0; n = read(pipe, words.data(), words.size())) {
    const std::uint8_t* begin = words.data();
    const std::uint8_t* const end = begin + n;
    while (begin < end) {
      const std::uint8_t* newline = std::find(begin, end, '\n');
      send_line(fd, begin, static_cast<std::size_t>(newline - begin));
      begin = newline + 1;
    }
  }
}

/// The loop thread may have taken the first words out of a pipe and not sent them yet.
void wait_for_forwarding() noexcept {
  constexpr int kTries = 50;
  const timespec pause{0, 1'000'000};
  for (int tries = 0; tries < kTries && forwarding.load() != 0; ++tries) nanosleep(&pause, nullptr);
}

void on_fatal_signal(int signal_number) {
  wait_for_forwarding();
  forward_last_words(1, capture_fds[0]);
  forward_last_words(2, capture_fds[1]);
  wait_for_forwarding();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

}  // namespace

void install_crash_handler(StdoutWriter& writer, int captured_out, int captured_error) {
  crash_writer = &writer;
  capture_fds = {captured_out, captured_error};
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (int number : kSignals) sigaction(number, &action, nullptr);
}

ForwardingOutput::ForwardingOutput() { forwarding.fetch_add(1); }
ForwardingOutput::~ForwardingOutput() { forwarding.fetch_sub(1); }

SignalStack::SignalStack() {
  void* memory = mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  memory_ = memory;
  stack_t stack{};
  stack.ss_sp = memory_;
  stack.ss_size = kSignalStackBytes;
  sigaltstack(&stack, nullptr);
}

SignalStack::~SignalStack() {
  if (memory_ == nullptr) return;
  stack_t stack{};
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
  munmap(memory_, kSignalStackBytes);
}

}  // namespace erlang_python
