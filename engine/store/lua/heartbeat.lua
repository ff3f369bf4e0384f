#!lua flags=allow-oom
-- heartbeat: a worker says that it lives, or leaves.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  its description (msgpack), '' when it leaves
-- Returns  now_ms
-- Used by  RedisStore.heartbeat, RedisStore.leave
--@use base
local me = ARGV[3]
if ARGV[4] ~= '' then
  call('HSET', P .. 'workers', me, fmt(T) .. ';' .. ARGV[4])
else
  local clean = true
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    -- DELCONSUMER throws pending entries away with the consumer: only when it has none
    local p = try('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', 1, me)
    if p.err or #p == 0 then
      try('XGROUP', 'DELCONSUMER', P .. 'ready:' .. tag, 'w', me)
    else
      clean = false
    end
  end
  local row = call('HGET', P .. 'workers', me)
  if clean or not row then
    call('HDEL', P .. 'workers', me)
    call('HDEL', P .. 'meta', 'w:' .. me)
  else -- it left handlers behind: silent from now on, and forgotten by the sweeper once its entries were reclaimed
    call('HSET', P .. 'workers', me, fmt(T - 15000) .. (string.match(row, ';.*$') or ';'))
  end
end
return T
