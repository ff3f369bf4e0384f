#!lua flags=allow-oom
-- pause: stop claims of this queue, or let them go on. Settles, promotions and enqueues are not touched.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  'pause', 'resume' or 'gate' (a rate limit of the outside: closes for a while, never shortens, is no pause)
-- ARGV[4]  for how many ms (0: until resumed)    ARGV[5]  reason
-- Returns  1 when it changed something, else 0
-- Used by  RedisStore.pause, RedisStore.resume, RedisStore.gate
--@use base ids place
local was = call('HGET', P .. 'meta', 'paused')
local ms = tonumber(ARGV[4])
if ARGV[3] == 'gate' then
  local gate = tonumber(call('HGET', P .. 'meta', 'gate') or 0)
  if T + ms <= gate then return 0 end
  call('HSET', P .. 'meta', 'gate', fmt(T + ms))
  return 1
end
if ARGV[3] == 'pause' then
  call('HSET', P .. 'meta', 'paused', (ms > 0 and fmt(T + ms) or '0') .. ';' .. fmt(T) .. ';' .. ARGV[5])
  tell('paused', '', ARGV[5])
  local old_till, old_reason = string.match(was or '', '^(%d+);%d+;(.*)$')
  local same = old_reason == ARGV[5] and (old_till == '0') == (ms == 0)
  return same and ms == 0 and 0 or 1
end
if not was then return 0 end
call('HDEL', P .. 'meta', 'paused')
tell('resumed', '', ARGV[5])
rang = true
ring()
return 1
