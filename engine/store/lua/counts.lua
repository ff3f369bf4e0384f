#!lua flags=no-writes,allow-oom
-- counts: how many jobs are where, from structures (gauges) and counters (flows), at one instant.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- Returns  {waiting, active, scheduled, retrying, blocked, dead, oldest waiting entry's ms or 0, now_ms, workers, {meta fields}}
--          conservation: enqueued = waiting + active + scheduled + retrying + blocked + completed + dead + cancelled + removed
-- Used by  RedisStore.counts
--@use base
local total, active, oldest = 0, 0, 0
local function since(e) return whole(e[2][4] or string.match(e[1], '^(%d+)')) or 0 end
for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
  local stream = P .. 'ready:' .. tag
  total = total + call('XLEN', stream)
  local pending = try('XPENDING', stream, 'w')
  local n = pending.err and 0 or pending[1]
  active = active + n
  -- the first entry after the last delivered one is the oldest that waits; what was given back may wait out of its age's order, in
  -- streams of its own, where the first hundred are looked at; and behind one that is dated ahead, of before the clock was set back
  local looks = string.find(tag, '%d') and 1 or 100
  local groups = try('XINFO', 'GROUPS', stream)
  for _, g in ipairs(groups.err and {} or groups) do
    for x = 1, #g, 2 do
      if g[x] == 'last-delivered-id' then
        local found = call('XRANGE', stream, '(' .. g[x + 1], '+', 'COUNT', looks)
        if looks == 1 and found[1] and since(found[1]) > T then found = call('XRANGE', stream, '(' .. g[x + 1], '+', 'COUNT', 100) end
        for _, e in ipairs(found) do
          local ms = since(e)
          if ms > 0 and (oldest == 0 or ms < oldest) then oldest = ms end
        end
      end
    end
  end
end
local workers = 0
for _, row in ipairs(call('HVALS', P .. 'workers')) do
  -- a beat that is further ahead is of before the clock was set back
  if math.abs(T - (whole(string.match(row, '^(%d+);')) or 0)) < 15000 then workers = workers + 1 end
end
local meta = {}
for _, f in ipairs({ 'enqueued', 'completed', 'cancelled', 'removed', 'retried', 'snoozed', 'stalled', 'died', 'released',
  'requeued', 'expired', 'refused', 'dropped', 'paused', 'gate', 'epoch', 'tags', 'grace' }) do
  meta[#meta + 1] = f
  meta[#meta + 1] = call('HGET', P .. 'meta', f) or ''
end
return { total - active, active, call('ZCARD', P .. 'scheduled'), call('ZCARD', P .. 'retrying'), call('XLEN', P .. 'blocked'),
  call('XLEN', P .. 'dead'), oldest, T, workers, meta }
