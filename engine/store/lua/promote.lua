#!lua flags=allow-oom
-- promote: move due jobs to their stream (or behind their key).
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  most jobs (50 keeps it under 2 ms)
-- Returns  {moved, next due ms or 0, now_ms}
-- Atomic   per bite; any number of promoters may run
-- Used by  RedisStore.promote
--@use base next ids envelope line place endings due
local moved, limit = 0, tonumber(ARGV[3])
local first = next_due()
if first == 0 or first > T then return { 0, first, T } end
sound()
for _, zset in ipairs({ 'retrying', 'scheduled' }) do
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. zset, '-inf', fmt(T), 'LIMIT', 0, limit - moved)) do
    local place = zset == 'retrying' and 't' or call('HGET', P .. 'where', id)
    make_runnable(id, zset == 'scheduled' and place == 't' and 'z' or place) -- it leaves the set it is in, whatever its row says
    moved = moved + 1
  end
end
ring()
return { moved, next_due(), T }
