%% The state of a py_port, which is described there. py_port_input and py_port_end are its other parts.

-include("py_protocol.hrl").

-record(state, {
    port :: port(),
    writer :: pid(),                        % py_writer
    secret :: reference(),                  % in the messages of our own timers
    id :: py_pid:id(),                    % of this process
    limit :: py_slots:limit(),
    calls :: counters:counters_ref(),
    left :: integer() | infinity,           % requests until it is to be recycled
    partial = none :: none | py_wire:partial(),
    pieces :: py_pieces:pieces(),
    shared_memory :: non_neg_integer(),     % that may be idle; 0: none is shared
    is_shared :: boolean(),                 % by several contexts
    segments = unknown :: unknown | none | py_segments:segments(),
    is_holding = false :: boolean(),        % frames that wait for segments
    aside = none :: none | {non_neg_integer(), [binary()]}, % of the payload of the frame in hand
    max_value :: pos_integer(),             % max_frame_bytes
    allowance = py_allowance:new() :: py_allowance:allowance(),
    callbacks :: py_callbacks:callbacks(),
    messages :: py_messages:messages(),
    rule :: py_send:rule(),                 % whom Python may send to
    pool :: atom(),
    parent :: pid(),
    manager :: pid(),
    target :: py_kill:target(),
    python = none :: none | pos_integer(),  % its OS process
    grace :: pos_integer() | infinity,
    shutdown_grace :: pos_integer(),
    phase = starting :: starting | ready | dead,
    program = none :: none | py_port_program:program(),     % until it is ready
    cause = none :: none | py_port:why(),           % why it is about to die, when we know before it does
    is_killed = false :: boolean(),         % its end is on its way
    words = py_last_words:new() :: py_last_words:words(),
    probe = none :: none | reference(),     % a STATS that is out
    probe_timer = none :: none | reference()
}).
