%% What is where in the `atomics' array of a limit (py_slots), for those that read all of it.

-define(MAX, 1).            % entries in use
-define(WAITING, 2).        % waiting(); unless 0, newcomers queue, and whoever gives a slot back looks who waits
-define(HIGH, 3).           % entries beyond are free: ?MAX, or after a shrink what it was
-define(NOMINAL, 4).        % the limit as it was asked for
-define(NESTED, 5).         % how many entries of the second region have ever been taken: where to look for a free one
-define(INDEBTED, 6).       % 1: more may be held than the limit says, and py_semaphore alone gives slots to those that wait
-define(MAX_QUEUED, 7).     % how many may wait; -1: any number
-define(NUMBER, 8).         % of this limit
-define(HEAD, 9).           % the place in the queue that was served last
-define(TAIL, 10).          % the place in the queue that was taken last
-define(ENTRY, 10).         % + slot
-define(ANSWER, (?ENTRY + ?CAPACITY + ?NESTED_CAPACITY)).   % + slot: the answer() to what the entry's request asked
%% A third of a MiB for both regions. More requests of one pool are never in Python's hands.
-define(CAPACITY, 16384).
%% The second region. A nested request that finds no free entry within some tries goes without.
-define(NESTED_CAPACITY, 4096).
-define(NESTED_TRIES, 64).

-define(TAG_SHIFT, 29).
-define(TAG_MASK, 16#3fff).
-define(VALUE(Id, Tag), ((Id) bor ((Tag) bsl ?TAG_SHIFT))).
%% Between two requests, while somebody waits: of the process that hands it on.
-define(RESERVED(Holder), ((Holder) bor 1)).
-define(TAG_OF(Value), (((Value) bsr ?TAG_SHIFT) band ?TAG_MASK)).

%% The slots of a chain of calls are in the second region.
-define(IS_OF_LIMIT(Slot), ((Slot) =< ?CAPACITY)).
