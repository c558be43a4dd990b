#pragma once

namespace erlang_python {

/// Ends the process when Erlang is gone or has closed the port: children get SIGTERM, Python is not asked.
[[noreturn]] void leave_at_end_of_input();

/// Ends the process when code in it has closed or replaced the pipes to Erlang: nobody would ever be answered.
[[noreturn]] void leave_without_pipes();

}  // namespace erlang_python
