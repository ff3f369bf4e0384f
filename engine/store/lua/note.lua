#!lua flags=allow-oom
-- note: an active job keeps something: progress, a log line, a step's result. Fenced: only the attempt that holds the lease.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  tag    ARGV[5]  entry    ARGV[6]  job id
-- ARGV[7]  field (progress, step:<name>, log)    ARGV[8]  value    ARGV[9]  most log lines kept    ARGV[10]  most steps
-- Returns  1 written, 0 lease lost (write nothing more), -1 there are as many steps as may be kept
-- Atomic   owner check and write are one step; the same value again changes nothing (a repeated log line repeats)
-- Used by  RedisStore.note
--@use base
local p = try('XPENDING', P .. 'ready:' .. ARGV[4], 'w', ARGV[5], ARGV[5], 1)
if p.err or not p[1] or p[1][2] ~= ARGV[3] then return 0 end
local notes = P .. 'notes:' .. ARGV[6]
if ARGV[7] == 'log' then
  local n = try('HINCRBY', notes, 'lines', 1)
  if type(n) == 'table' then -- no number: begun again
    n = 1
    call('HSET', notes, 'lines', '1')
  end
  call('HSET', notes, 'log:' .. n, fmt(T) .. ';' .. ARGV[8])
  local old = n - tonumber(ARGV[9])
  if old > 0 then call('HDEL', notes, 'log:' .. old) end
else
  if string.sub(ARGV[7], 1, 5) == 'step:' and call('HEXISTS', notes, ARGV[7]) == 0 then
    local steps = whole(call('HGET', notes, 'steps')) or 0
    if steps >= tonumber(ARGV[10]) then return -1 end
    call('HSET', notes, 'steps', fmt(steps + 1))
  end
  call('HSET', notes, ARGV[7], ARGV[8])
end
call('ZADD', P .. 'noted', 'NX', '+inf', ARGV[6])
return 1
