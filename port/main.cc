// The port program: one process per pool. See docs/design.md.

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "context/contexts.h"
#include "erlang_python_config.h"
#include "python/start.h"
#include "runtime/crash_handler.h"
#include "runtime/leaving.h"
#include "runtime/port_loop.h"
#include "runtime/stdin_keeper.h"
#include "runtime/stdio_claim.h"

namespace erlang_python {
namespace {

int kill_group(const char* text) {
  const long group = std::strtol(text, nullptr, 10);
  if (group <= 1) return 2;
  return kill(static_cast<pid_t>(-group), SIGKILL) == 0 ? 0 : 1;
}

/// Values of some megabytes come and go with every call; without this each would have all its pages taken from the
/// kernel and given back (measured: 4 MB echoes took four times as long).
void keep_freed_memory() {
#if defined(__GLIBC__)
  constexpr int kMmapThresholdBytes = 8 * 1024 * 1024;
  constexpr int kTrimThresholdBytes = 32 * 1024 * 1024;
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
#endif
}

/// Tells Erlang why the port cannot start and leaves.
[[noreturn]] void leave_unable(StdoutWriter& writer, const std::string& reason) {
  TermWriter out;
  begin_notice(out, Notice::kFatal, 1);
  out.binary(reason);
  finish_frame(out);
  writer.send(out.bytes());
  _exit(1);
}

/// The first frame. Nothing else is sent before READY, so blocking is fine.
Result<PortConfig> wait_for_init(int fd, FrameParser& parser) {
  for (;;) {
    if (auto frame = parser.next()) {
      TermReader reader(frame->bytes());
      if (!reader.read_version() || reader.read_tuple_header() != std::size_t{2} ||
          reader.read_int64() != static_cast<std::int64_t>(Operation::kInit)) {
        return Error{"the first frame is not INIT"};
      }
      return read_port_config(reader);
    }
    pollfd input{fd, POLLIN, 0};
    poll(&input, 1, -1);
    const auto room = parser.writable();
    const ssize_t n = read(fd, room.data(), room.size());
    if (n == 0) leave_at_end_of_input();
    if (n > 0) parser.commit(static_cast<std::size_t>(n));
  }
}

[[noreturn]] void serve(ClaimedStdio stdio) {
  StdoutWriter writer(std::move(stdio.replies));
  install_crash_handler(writer, stdio.captured_out.get(), stdio.captured_error.get());
  FrameParser parser;
  auto config = wait_for_init(stdio.requests.get(), parser);
  if (!config) leave_unable(writer, config.error().message);
  if (config->nice > 0) setpriority(PRIO_PROCESS, 0, config->nice);
  if (Status started = start_python(*config); !started) leave_unable(writer, started.error().message);

  StdinReader reader(std::move(stdio.requests), std::move(parser));
  OutputSink output(writer);
  Ticker ticker;
  AnnouncedAtoms atoms(writer);
  Callbacks callbacks(config->functions);
  ThreadCensus census;
  std::mutex interpreter_creation_mu;
  // Contexts dispatch what the loop reads, and the loop watches the contexts: each is given the other by reference.
  struct Graph {
    Services services;
    Contexts contexts;
    ErlangLink link;
    PortLoop loop;
    Graph(const PortConfig& config_, StdinReader& reader_, StdoutWriter& writer_, OutputSink& output_, Ticker& ticker_,
          AnnouncedAtoms& atoms_, Callbacks& callbacks_, ThreadCensus& census_, std::mutex& creation_mu,
          const ClaimedStdio& stdio_)
        : services{config_,  reader_, writer_,    output_, ticker_, loop,
                   contexts, atoms_,  callbacks_, link,    census_, creation_mu},
          contexts(services),
          link{output_, writer_, ticker_, atoms_, callbacks_, contexts, config_.max_value_bytes},
          loop({reader_, writer_, output_, ticker_, contexts, contexts, stdio_.captured_out.get(),
                stdio_.captured_error.get()}) {}
  } graph(*config, reader, writer, output, ticker, atoms, callbacks, census, interpreter_creation_mu, stdio);
  if (Status opened = graph.loop.open(); !opened) leave_unable(writer, opened.error().message);
  writer.set_backlog_bell([&graph] { graph.loop.drain_stdout(); });
  output.set_tend_bell([&graph] { graph.loop.tend_output_later(); });

  TermWriter ready;
  begin_notice(ready, Notice::kReady, 1);
  write_python_facts(ready);
  finish_frame(ready);
  writer.send(ready.bytes());
  graph.loop.run();
}

}  // namespace
}  // namespace erlang_python

int main(int argc, char** argv) {
  using namespace erlang_python;
  if (argc == 3 && std::strcmp(argv[1], "--kill") == 0) return kill_group(argv[2]);
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    [[maybe_unused]] const ssize_t n = write(STDOUT_FILENO, ERLANG_PYTHON_VERSION "\n", sizeof ERLANG_PYTHON_VERSION);
    return 0;
  }
  if (isatty(STDIN_FILENO) != 0) {
    constexpr char kHint[] = "erlang_python_port speaks {packet,4} with Erlang: start it through the application.\n";
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, kHint, sizeof kHint - 1);
    return 2;
  }
  // The BEAM starts us like this, and Python's sockets count on it; subprocess gives children the default back.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  keep_stdin_past_death();
  lead_process_group();
  keep_freed_memory();
  auto stdio = claim_stdio();
  if (!stdio) return 1;
  serve(std::move(*stdio));
}
