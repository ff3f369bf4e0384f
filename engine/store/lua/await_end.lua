#!lua
-- await_end: somebody wants to hear of a job's end. Registers the wish when it is still to come.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  job id
-- Returns  {'waiting', last id of `settled`} registered: read `settled` from there | {'dead'} | {'ended', result or ''}
--          not kept outside `done` any more
-- Used by  RedisStore.await_end
--@use base locate
local id = ARGV[3]
local result = call('HGET', P .. 'notes:' .. id, 'result')
if result then return { 'ended', result } end
local place = locate(id)
if place == 'd' then return { 'dead' } end
if not place then return { 'ended', '' } end
call('HSET', P .. 'flags', 'w' .. id, fmt(T))
local info = try('XINFO', 'STREAM', P .. 'settled')
if not info.err then
  for x = 1, #info, 2 do
    if info[x] == 'last-generated-id' then return { 'waiting', info[x + 1] } end
  end
end
return { 'waiting', '0-0' }
