#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context/calling.h"
#include "context/counters.h"
#include "context/envs.h"
#include "context/levels.h"
#include "context/mailbox.h"
#include "context/services.h"
#include "context/tasks.h"
#include "interpreter/interpreter.h"
#include "request/request.h"

namespace erlang_python {

/// How long finalizers may take when a namespace or a context goes; then they are interrupted like a late request.
constexpr std::int64_t kClearUpNs = 5'000 * kNsPerMs;

/// Runs one request at a time in the namespaces of a context, and answers it. Context's thread only, attached, unless
/// said otherwise.
class Runner {
 public:
  Runner(ContextId id, Mailbox& mailbox, Levels& levels, Tasks& tasks, ContextCounters& counters, Services& services)
      : id_(id), mailbox_(mailbox), levels_(levels), tasks_(tasks), counters_(counters), services_(services) {}
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  /// Runs imports and preload for the request `alias`, and writes how that went. False: the context cannot start.
  bool open(const Interpreter& interpreter, const std::vector<std::string>& preload, Bytes alias, TermWriter& reply);
  /// Forgets the namespaces.
  void close();

  // `apart`: not on behalf of what is below on the stack.

  /// A CALL, EVAL or EXEC, or what is left of one.
  void run(Request& request, bool apart);
  /// What a request would have gone on with, if it had not ended.
  void forget(Rest& rest, bool apart);
  void drop_env(std::uint64_t env, bool apart);
  /// A CHECK: whether the context can still do what every request needs.
  void check(const Request& request, bool loop_is_broken, bool apart);

  /// Attached to the interpreter of this context, with a GIL: runs a nested request in the calling thread, which waits
  /// for a callback and is not the context's. `below`: what the thread runs; null for no request.
  void run_guest(const Request& request, const RequestScope* below);

 private:
  /// The thread that runs a request: its context's own, or as a guest one that Python has started.
  struct Host {
    Calling& calling;
    Envs& envs;
    Mode mode;
    bool guest;
  };
  struct Written {
    bool value;     ///< and not an exception
    bool deferred;  ///< neither: the reply comes later
  };
  bool prepare(const std::vector<std::string>& preload, TermWriter& reply);
  /// Runs a request, or what is left of it, and writes its value or the exception that it ended with; neither when it
  /// gives way to others, and then `rest` has what is left.
  Written write_value(const Request& request, Rest& rest, const Host& host, TermWriter& out);
  bool write_ok_value(const Request& request, PyRef value, const Host& host, TermWriter& out);
  PyRef run_python(const Request& request, Rest& rest, const Host& host);
  /// Of what run_python() has returned, a null value with a Python error set.
  Written write_outcome(const Request& request, PyRef value, const Host& host, TermWriter& out);
  void find_home(const Message& message, Rest& rest, Envs& envs);
  /// The context variables that a request runs with; null for those that are there. `below`: the request of its chain
  /// that it is nested in.
  static PyRef variables_of(const Message& message, Rest& rest, const RequestScope* below, const Envs& envs);
  /// Whether a request that goes on with this does so when others have had their turn.
  bool gives_way(PyObject* work, const Host& host) const;
  /// Ends `running`. False: the reply comes later.
  [[nodiscard]] bool write_result(Request& request, Running& running, std::size_t payload_start);
  /// True: a CANCEL for this request came after it had left the mailbox and before it began. It is taken out.
  bool take_cancel(Bytes alias);
  /// Between two requests: what namespaces have left may have grown large or old meanwhile.
  void collect_leftovers(bool apart);
  bool is_followed_by_the_same(const Request& request) const;
  void send_reply(TermWriter& out, std::size_t payload_start, Bytes alias, bool more = false);

  const ContextId id_;
  Mailbox& mailbox_;
  Levels& levels_;
  Tasks& tasks_;
  ContextCounters& counters_;
  Services& services_;
  const Interpreter* interpreter_ = nullptr;
  std::unique_ptr<Calling> calling_;
  std::shared_ptr<Envs> envs_;  ///< shared with guests, which may outlast close()
};

}  // namespace erlang_python
