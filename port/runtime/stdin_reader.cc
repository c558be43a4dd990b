#include "runtime/stdin_reader.h"

#include <unistd.h>

#include <cerrno>

namespace erlang_python {

void StdinReader::read_once(Dispatcher& dispatcher, ContextId reader, Batch& batch) {
  if (fd() < 0) return;
  const auto room = parser_.writable();
  const ssize_t n = read(fd_.get(), room.data(), room.size());
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
    ended_.store(true, std::memory_order_release);
    batch.any = true;  // those that are to end are woken as for a frame
    return dispatcher.input_ended(reader, batch);
  }
  if (n < 0) return;
  parser_.commit(static_cast<std::size_t>(n));
  while (auto frame = parser_.next()) {
    batch.any = true;
    dispatcher.dispatch(std::move(*frame), reader, batch);
  }
  if (const auto length = parser_.take_refused()) dispatcher.refused_frame(*length);
}

}  // namespace erlang_python
