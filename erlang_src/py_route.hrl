%% The shared namespace of a context, among the numbers of namespaces; 0 is for a process that has none.
-define(SHARED_ENV, 1).

%% Where a request goes: everything that a caller needs to write it to the port by itself.
-record(route, {
    ctx :: pid(),            % the context's Erlang process: its public name
    port :: port(),          % written to by the caller
    owner :: pid(),          % py_port: sends the reply, its death wakes the caller
    id :: pos_integer(),     % the context's number inside the port process
    tag :: pos_integer(),    % the context's number on this node (py_slots)
    pool :: atom(),
    limit :: py_slots:limit() | pos_integer(),     % the pool's, on requests in Python's hands; in tables its number
    grants :: py_grants:id(),  % whom Python may send to; the caller notes there what it sends
    env = 0 :: non_neg_integer()  % the caller's namespace in this context, 0 for none
}).

%% What a process remembers of its dealings with Python, in its process dictionary (py_env).
-record(caller, {
    id :: py_pid:id(),
    who :: pid() | {pid(), Owner :: pid()},      % as Python sees it: in a chain with the process that began it
    chain = 0 :: non_neg_integer(),              % of calls that its requests are nested in (py_chain), 0 for none
    home = none :: none | pid(),                 % the context that waits for the callback
    root = none :: none | pid(),                 % the callback's process, where ours only descends from it
    bound = none :: none | #route{},             % bind_context/1
    pools = #{} :: #{atom() => #route{}},        % per pool: bound, or where its namespace is
    envs = #{} :: #{pid() => #route{}}           % per context: where it has a namespace
}).

%% A callback that runs, as the processes that descend from its process find it (table py_callbacks).
-record(callback, {
    chain :: pos_integer(),
    starter :: none | pid(),      % the process that began the chain
    port_owner :: pid(),          % py_port
    id :: non_neg_integer(),      % the context's number in the port process, 0 when it is not known
    env :: non_neg_integer()
}).
