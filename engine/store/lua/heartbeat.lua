#!lua flags=allow-oom
-- heartbeat: a worker says that it lives, or leaves.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  its description (msgpack), '' when it leaves
-- Returns  {now_ms, workers seen in the last 15 s}
-- Used by  RedisStore.heartbeat, RedisStore.leave
--@use base
local me = ARGV[3]
if ARGV[4] ~= '' then
  call('HSET', P .. 'workers', me, fmt(T) .. ';' .. ARGV[4])
else
  call('HDEL', P .. 'workers', me)
  call('HDEL', P .. 'meta', 'w:' .. me)
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    -- DELCONSUMER throws pending entries away with the consumer: only when it has none
    local p = try('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', 1, me)
    if not p.err and #p == 0 then try('XGROUP', 'DELCONSUMER', P .. 'ready:' .. tag, 'w', me) end
  end
end
local seen = 0
for _, row in ipairs(call('HVALS', P .. 'workers')) do
  if T - tonumber(string.match(row, '^(%d+);')) < 15000 then seen = seen + 1 end
end
return { T, seen }
