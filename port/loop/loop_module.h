#pragma once

namespace erlang_python {

/// Registers the built-in module `_erlang_loop`: what erlang.ErlangEventLoop sleeps in. Before CPython starts.
void register_loop_module();

}  // namespace erlang_python
