#include "runtime/stdin_reader.h"

#include <unistd.h>

#include <cerrno>

#include "runtime/leaving.h"

namespace erlang_python {

void StdinReader::read_once(Dispatcher& dispatcher, ContextId reader, Batch& batch) {
  const auto room = parser_.writable();
  const ssize_t n = read(fd_.get(), room.data(), room.size());
  if (n == 0) leave_at_end_of_input();
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) leave_at_end_of_input();
    return;
  }
  parser_.commit(static_cast<std::size_t>(n));
  while (auto frame = parser_.next()) {
    batch.any = true;
    dispatcher.dispatch(std::move(*frame), reader, batch);
  }
  if (const auto length = parser_.take_refused()) dispatcher.refused_frame(*length);
}

}  // namespace erlang_python
