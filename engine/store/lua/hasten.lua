#!lua flags=allow-oom
-- hasten: an operator promotes one scheduled or retrying job: it is runnable now.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  job id
-- Returns  'done' | 'unknown' (or in a state that waits for no time)
-- Used by  RedisStore.hasten
--@use base ids envelope line place endings due
local row = call('HGET', P .. 'where', ARGV[3])
if row ~= 's' and row ~= 'z' and row ~= 't' then return 'unknown' end
sound()
make_runnable(ARGV[3], row)
ring()
return 'done'
