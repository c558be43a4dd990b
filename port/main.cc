// The port program: one process per pool. See docs/design.md.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "app/start.h"
#include "base/freed_memory.h"
#include "base/out_of_memory.h"
#include "context/contexts.h"
#include "erlang_python_config.h"
#include "runtime/crash_handler.h"
#include "runtime/keeper.h"
#include "runtime/leaving.h"
#include "runtime/port_loop.h"
#include "runtime/stdio_claim.h"
#include "segments/segments.h"

namespace erlang_python {
namespace {

/// Tells Erlang why the port cannot start and leaves.
[[noreturn]] void leave_unable(StdoutWriter& writer, const std::string& reason) {
  TermWriter out;
  begin_notice(out, Notice::kFatal, 1);
  out.binary(reason);
  finish_frame(out);
  writer.send(out.bytes());
  _exit(1);
}

/// Before Python starts, where blocking is fine.
Frame wait_for_frame(int fd, FrameParser& parser) {
  for (;;) {
    if (auto frame = parser.next()) return std::move(*frame);
    pollfd input{fd, POLLIN, 0};
    poll(&input, 1, -1);
    const auto room = parser.writable();
    const ssize_t n = read(fd, room.data(), room.size());
    if (n == 0) leave_at_end_of_input();
    if (n > 0) parser.commit(static_cast<std::size_t>(n));
  }
}

bool begins(TermReader& reader, Operation operation) {
  return reader.read_version() && reader.read_tuple_header() == std::size_t{2} &&
         reader.read_int64() == static_cast<std::int64_t>(operation);
}

Result<PortConfig> wait_for_init(int fd, FrameParser& parser) {
  const Frame frame = wait_for_frame(fd, parser);
  TermReader reader(frame.bytes());
  if (!begins(reader, Operation::kInit)) return Error{"the first frame is not INIT"};
  return read_port_config(reader);
}

/// Whether Erlang could open the segment file. What it says before it answers, such as the names of functions that have
/// just been registered, goes into `early`.
bool wait_for_segments_opened(int fd, FrameParser& parser, std::vector<Frame>& early) {
  for (;;) {
    Frame frame = wait_for_frame(fd, parser);
    TermReader reader(frame.bytes());
    if (begins(reader, Operation::kSegmentsOpened)) return reader.read_atom() == "true";
    early.push_back(std::move(frame));
  }
}

/// The segment file, which Erlang opens now: later it could not know what it opens. Null: large values go through the
/// pipe, since there can be no such file here, or Erlang cannot open it.
std::unique_ptr<Segments> share_memory(const PortConfig& config, StdoutWriter& writer, int fd, FrameParser& parser,
                                       std::vector<Frame>& early) {
  // As many of the largest values as Erlang lets wait (py_segments).
  constexpr std::size_t kLargestValues = 8;
  std::unique_ptr<Segments> segments;
  if (config.shared_memory > 0) {
    if (auto file = SegmentFile::create()) {
      segments = std::make_unique<Segments>(std::move(*file), config.shared_memory / 2,
                                            kLargestValues * config.max_value_bytes, writer);
    }
  }
  // In any case, and before any code of users runs: Erlang takes the first that comes for ours.
  TermWriter out;
  begin_notice(out, Notice::kSegmentFile, 2);
  out.integer(getpid());
  if (segments) {
    out.integer(segments->file().fd());
  } else {
    out.atom("none");
  }
  finish_frame(out);
  writer.send(out.bytes());
  if (!segments) return nullptr;
  return wait_for_segments_opened(fd, parser, early) ? std::move(segments) : nullptr;
}

[[noreturn]] void serve(ClaimedStdio stdio, const Status& below_keepers) {
  StdoutWriter writer(std::move(stdio.replies));
  if (!below_keepers) leave_unable(writer, below_keepers.error().message);
  install_crash_handler(writer, stdio.captured_out.get(), stdio.captured_error.get());
  FrameParser parser;
  auto config = wait_for_init(stdio.requests.get(), parser);
  if (!config) leave_unable(writer, config.error().message);
  if (config->nice > 0) nice(config->nice);  // on top of what the node runs at
  std::vector<Frame> early;
  const auto segments = share_memory(*config, writer, stdio.requests.get(), parser, early);
  Sandbox sandbox(config->sandbox, config->sandbox_rules);
  if (Status confined = sandbox.confine_process(); !confined) leave_unable(writer, confined.error().message);
  if (Status started = start_python(*config, sandbox); !started) leave_unable(writer, started.error().message);

  StdinReader reader(std::move(stdio.requests), std::move(parser));
  OutputSink output(writer);
  Ticker ticker;
  AnnouncedAtoms atoms(writer);
  Callbacks callbacks(config->functions);
  CallbackSender calls(writer, ticker, config->max_callbacks, config->max_value_bytes);
  ThreadCensus census;
  Mutex interpreter_creation_mu;
  // Contexts dispatch what the loop reads, and the loop watches the contexts: each is given the other by reference.
  struct Graph {
    Services services;
    Contexts contexts;
    ErlangLink link;
    PortLoop loop;
    Graph(const PortConfig& config_, StdinReader& reader_, StdoutWriter& writer_, OutputSink& output_, Ticker& ticker_,
          AnnouncedAtoms& atoms_, Callbacks& callbacks_, CallbackSender& calls_, ThreadCensus& census_,
          Mutex& creation_mu, Sandbox& sandbox_, Segments* segments_, const ClaimedStdio& stdio_)
        : services{config_,    reader_, writer_, output_, ticker_,     loop,     contexts, atoms_,
                   callbacks_, calls_,  link,    census_, creation_mu, sandbox_, segments_},
          contexts(services),
          link{output_, writer_, ticker_, atoms_, callbacks_, calls_, contexts, config_, segments_},
          loop({reader_, writer_, output_, ticker_, contexts, contexts, stdio_.captured_out.get(),
                stdio_.captured_error.get()}) {}
  } graph(*config, reader, writer, output, ticker, atoms, callbacks, calls, census, interpreter_creation_mu, sandbox,
          segments.get(), stdio);
  if (Status opened = graph.loop.open(); !opened) leave_unable(writer, opened.error().message);
  writer.set_backlog_bell([&graph] { graph.loop.drain_stdout(); });
  output.set_tend_bell([&graph] { graph.loop.tend_output_later(); });

  // There is no context yet that any of them could be for.
  Batch batch;
  for (Frame& frame : early) graph.contexts.dispatch(std::move(frame), 0, batch);

  TermWriter ready;
  begin_notice(ready, Notice::kReady, 1);
  write_python_facts(ready, sandbox);
  finish_frame(ready);
  writer.send(ready.bytes());
  graph.loop.run();
}

}  // namespace
}  // namespace erlang_python

int main(int argc, char** argv) {
  using namespace erlang_python;
  if (argc == 4 && std::strcmp(argv[1], "--kill") == 0) return kill_pool(argv[2], argv[3]);
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
  // argv[1], the name of the pool, is for those who list processes.
  const Status below_keepers = start_below_keepers(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : kNoMark);
  end_when_out_of_memory();
  keep_freed_memory();
  auto stdio = claim_stdio();
  if (!stdio) return 1;
  serve(std::move(*stdio), below_keepers);
}
