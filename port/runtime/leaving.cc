#include "runtime/leaving.h"

#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

namespace erlang_python {

void leave_at_end_of_input() {
  signal(SIGTERM, SIG_IGN);
  kill(0, SIGTERM);  // the process group: Python's children
  _exit(0);
}

void leave_without_pipes() { _exit(EX_IOERR); }

}  // namespace erlang_python
