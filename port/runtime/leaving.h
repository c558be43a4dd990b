#pragma once

namespace erlang_python {

/// Ends the process when Erlang is gone or has closed the port: children get SIGTERM, Python is not asked.
[[noreturn]] void leave_at_end_of_input();

}  // namespace erlang_python
