-module(py_stream_server).
-export([cancel/1]).
-spec cancel(reference()) -> ok.
cancel(Ref) -> Ref ! py_stream_cancel, ok.
