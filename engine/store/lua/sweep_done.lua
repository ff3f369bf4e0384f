#!lua flags=allow-oom
-- sweep_done: drop records of completed and cancelled jobs that are too old or too many.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  drop what ended before this ms    ARGV[4]  keep at most so many jobs (-1: any number)    ARGV[5]  most records looked at
-- ARGV[6]  'completed', 'cancelled' or 'all' ARGV[7]  look from after this record ('': from the oldest)
-- Returns  {jobs dropped, '1' when there may be more, last record looked at}
-- Atomic   per bite; several sweepers drop each record once
-- Used by  RedisStore.sweep_done
--@use base
local cut, keep, limit, kind = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local kept = whole(call('HGET', P .. 'meta', 'done_kept')) or 0
local entries = call('XRANGE', P .. 'done', ARGV[7] == '' and '-' or '(' .. ARGV[7], '+', 'COUNT', limit)
local ids, dropped, last, more = {}, 0, ARGV[7], #entries == limit and 1 or 0
for _, x in ipairs(entries) do
  local cancelled = x[2][1] == 'x'
  local n = cancelled and 1 or whole(x[2][4]) or 0 -- somebody else's entry is no job's end
  local old = tonumber(string.match(x[1], '^(%d+)')) < cut
  if not old and (keep < 0 or kept - dropped <= keep) then
    more = 0
    break
  end
  last = x[1]
  if kind == 'all' or (kind == 'cancelled') == cancelled then
    ids[#ids + 1] = x[1]
    dropped = dropped + n
  end
end
if #ids > 0 then
  call('XDEL', P .. 'done', unpack(ids))
  if call('XLEN', P .. 'done') == 0 then
    call('HDEL', P .. 'meta', 'done_kept')
  else
    call('HSET', P .. 'meta', 'done_kept', fmt(math.max(kept - dropped, 0)))
  end
end
return { dropped, more, last }
