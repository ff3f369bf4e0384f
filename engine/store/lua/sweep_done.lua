#!lua flags=allow-oom
-- sweep_done: drop records of completed and cancelled jobs that are too old or too many.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  drop what ended before this ms    ARGV[4]  keep at most so many jobs (-1: any number)    ARGV[5]  most records looked at
-- ARGV[6]  'completed', 'cancelled' or 'all'
-- Returns  {jobs dropped, '1' when there may be more}
-- Atomic   per bite; several sweepers drop each record once
-- Used by  RedisStore.sweep_done
--@use base
local cut, keep, limit, kind = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local kept = tonumber(call('HGET', P .. 'meta', 'done_kept') or 0)
local entries = call('XRANGE', P .. 'done', '-', '+', 'COUNT', limit)
local ids, dropped = {}, 0
for _, x in ipairs(entries) do
  local cancelled = x[2][1] == 'x'
  local n = cancelled and 1 or tonumber(x[2][4])
  local old = tonumber(string.match(x[1], '^(%d+)')) < cut
  if not old and (keep < 0 or kept - dropped <= keep) then break end
  if kind == 'all' or (kind == 'cancelled') == cancelled then
    ids[#ids + 1] = x[1]
    dropped = dropped + n
  end
end
if #ids == 0 then return { 0, 0 } end
call('XDEL', P .. 'done', unpack(ids))
if call('XLEN', P .. 'done') == 0 then
  call('HDEL', P .. 'meta', 'done_kept')
else
  call('HSET', P .. 'meta', 'done_kept', fmt(math.max(kept - dropped, 0)))
end
return { dropped, #entries == limit and 1 or 0 }
