%% Who can be answered: OTP crashes the process that replies to anything else.
-define(IS_FROM(From), (is_tuple(From) andalso tuple_size(From) =:= 2 andalso is_pid(element(1, From)))).
