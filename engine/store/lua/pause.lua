#!lua flags=allow-oom
-- pause: stop claims of this queue, or let them go on. Settles, promotions and enqueues are not touched.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  'pause', 'resume' or 'gate' (a rate limit of the outside: closes for a while, never shortens, is no pause)
-- ARGV[4]  for how many ms (0: until resumed)    ARGV[5]  reason
--          a pause without a reason leaves the reason that stands and, without a time, the end that stands
--          a resume opens the gate, too
-- Returns  1 when it changed something, else 0
-- Used by  RedisStore.pause, RedisStore.resume, RedisStore.gate
--@use base ids line place
local was = call('HGET', P .. 'meta', 'paused')
local old_till, old_since, old_reason = string.match(was or '', '^(%d+);(%d+);(.*)$')
if was and not old_till then old_till, old_since, old_reason = '0', '0', was end -- not ours: nothing runs, as `step` has it
local stands = old_till and (old_till == '0' or tonumber(old_till) > T) -- else it was never paused, or that pause is over
local ms = tonumber(ARGV[4])
local till_ms = T + UP + ms -- opens never early
if ARGV[3] == 'gate' then
  if till_ms <= (whole(call('HGET', P .. 'meta', 'gate')) or 0) then return 0 end
  call('HSET', P .. 'meta', 'gate', fmt(till_ms))
  return 1
end
if ARGV[3] == 'pause' then
  local till, since, reason = ms > 0 and fmt(till_ms) or '0', fmt(T), ARGV[5]
  if stands and (reason == '' or reason == old_reason) then
    if reason == '' and ms == 0 then till = old_till end
    since, reason = old_since, old_reason
  end
  local row = till .. ';' .. since .. ';' .. reason
  call('HSET', P .. 'meta', 'paused', row)
  tell('paused', '', reason)
  return row == was and 0 or 1
end
local shut = (whole(call('HGET', P .. 'meta', 'gate')) or 0) > T -- whoever resumes knows that the limit is over, too
if not was and not shut then return 0 end
call('HDEL', P .. 'meta', 'paused', 'gate')
tell('resumed', '', (stands or not was) and ARGV[5] or 'timed pause ended')
must_ring = true
ring()
return (stands or shut) and 1 or 0
