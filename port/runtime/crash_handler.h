#pragma once

#include "runtime/stdout_writer.h"

namespace erlang_python {

/// Before SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT kills the process, sends what is left in the capture pipes to
/// Erlang, so that the log shows the last words. Install before CPython starts: faulthandler, which comes on top,
/// writes the Python stack to fd 2 and then calls us. `writer` must live as long as the process.
void install_crash_handler(StdoutWriter& writer, int captured_out, int captured_error);

/// Around reading a capture pipe and sending what was read: a crash in another thread waits for it to be sent.
class ForwardingOutput {
 public:
  ForwardingOutput();
  ~ForwardingOutput();
  ForwardingOutput(const ForwardingOutput&) = delete;
  ForwardingOutput& operator=(const ForwardingOutput&) = delete;
};

/// A signal stack for the calling thread, without which a C stack overflow could run no handler. Lives until the thread
/// ends.
class SignalStack {
 public:
  SignalStack();
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  void* memory_ = nullptr;
};

}  // namespace erlang_python
