#!lua flags=allow-oom
-- remove: take one job away, because somebody cancels it or an operator deletes it.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  job id    ARGV[4]  'cancel' or 'delete'    ARGV[5]  reason    ARGV[6]  ms its notes stay
-- Returns  'done' | 'requested' (cancel of an active job: its worker is told, the next settle or reclaim ends it)
--          | 'active' (delete of an active job is refused) | 'dead' (cancel of a dead job is refused) | 'unknown'
-- Atomic   a second call answers 'unknown', or 'requested' again
-- Used by  RedisStore.cancel, RedisStore.delete
--@use base ids envelope line place endings locate
local id, deleting = ARGV[3], ARGV[4] == 'delete'
local place, env, tag, entry, owner = locate(id)
if not place then return 'unknown' end
sound()
local function leave()
  call('HDEL', P .. 'where', id)
  if deleting then
    add('removed', 1)
    tell('removed', id, ARGV[5])
    call('DEL', P .. 'notes:' .. id)
    call('ZREM', P .. 'noted', id)
    announce(id, 'removed')
  else
    record_cancelled(id, env, ARGV[5])
    let_notes_go(id, tonumber(ARGV[6]))
    announce(id, 'cancelled')
  end
  ring()
  return 'done'
end
if place == 'd' then
  if not deleting then return 'dead' end
  call('XDEL', P .. 'dead', entry)
  return leave()
end
local readable, _, _, _, _, key = pcall(parse, env) -- a waiting entry may be undecodable: then it holds no key
if not readable then key = '' end
if place == 'b' then
  leave_line(key, entry)
  call('XDEL', P .. 'blocked', entry)
  return leave()
end
if place == 'r' then
  if owner ~= '' then
    if deleting then return 'active' end
    call('HSET', P .. 'flags', 'c' .. id, fmt(T))
    try('XADD', P .. 'control', 'MAXLEN', '~', '100', '*', 'act', 'cancel', 'id', id)
    return 'requested'
  end
  call('XDEL', P .. 'ready:' .. tag, entry)
  hand_over(key)
  return leave()
end
call('ZREM', P .. (place == 't' and 'retrying' or 'scheduled'), id)
call('HDEL', P .. 'jobs', id)
if place ~= 's' then hand_over(key) end -- it held its key through the wait
return leave()
