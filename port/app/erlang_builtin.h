#pragma once

namespace erlang_python {

/// Registers the built-in module `_erlang`, which the package `erlang` uses. Before CPython starts.
void register_erlang_module();

}  // namespace erlang_python
