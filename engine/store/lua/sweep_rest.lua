#!lua flags=allow-oom
-- sweep_rest: drop what ended jobs, dead workers and gone producers left behind.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  ms after which a silent worker is forgotten    ARGV[4]  the same for a producer    ARGV[5]  most rows of each kind
-- ARGV[6]  cursor of meta
-- Returns  {notes, workers, producers dropped, next cursor of meta}
-- Atomic   per bite. A worker with pending entries is never forgotten: DELCONSUMER would throw them away
-- Used by  RedisStore.sweep_rest
--@use base
local gone, silent, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local notes, workers, producers = 0, 0, 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'noted', '-inf', fmt(T), 'LIMIT', 0, limit)) do
  call('DEL', P .. 'notes:' .. id)
  call('ZREM', P .. 'noted', id)
  notes = notes + 1
end
local function forget(worker)
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    local p = try('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', 1, worker)
    if not p.err and #p > 0 then return end
  end
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    try('XGROUP', 'DELCONSUMER', P .. 'ready:' .. tag, 'w', worker)
  end
  call('HDEL', P .. 'workers', worker)
  call('HDEL', P .. 'meta', 'w:' .. worker)
  workers = workers + 1
end
local rows = call('HGETALL', P .. 'workers')
for i = 1, #rows, 2 do
  if workers < limit and T - (whole(string.match(rows[i + 1], '^(%d+);')) or 0) > gone then forget(rows[i]) end
end
local r = call('HSCAN', P .. 'meta', ARGV[6], 'MATCH', 'p:*', 'COUNT', limit)
for i = 1, #r[2], 2 do
  if T - (whole(string.match(r[2][i + 1], '^%d+|(%d+)|')) or 0) > silent then
    call('HDEL', P .. 'meta', r[2][i])
    producers = producers + 1
  end
end
return { notes, workers, producers, r[1] }
