%% One request, from when it is asked for until its result is there (py_attempt).
-record(attempt, {
    key = none :: term(),                        % whoever has several of them knows it by that
    target :: py_route:target(),
    operation :: none | py_protocol:operation(),  % none: it is in flight, and the caller may forget it
    flags :: non_neg_integer(),
    caller :: #caller{},                         % on whose behalf, and in which chain of calls
    timeout :: timeout(),                        % as it was asked for
    deadline = none :: none | integer() | infinity,     % none: the clock does not run yet
    queue_timeout = infinity :: timeout(),       % of that, for a slot
    %% When it has waited for a slot for too long.
    queue_deadline = infinity :: integer() | infinity,
    expiry = none :: none | integer() | infinity,       % py_attempt:expiry/1, as its py_pipeline has it
    at = queued :: queued | slot | pool | granted | flight,
    route = none :: none | #route{},
    slot = 0 :: py_slots:slot() | 0,             % 0: it needs none, or has none
    alias = none :: none | reference()           % where its answer comes, once it is sent
}).
