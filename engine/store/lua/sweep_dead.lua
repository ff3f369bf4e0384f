#!lua flags=allow-oom
-- sweep_dead: remove dead jobs that died before a time, or are too many.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  before this ms    ARGV[4]  most jobs    ARGV[5]  keep at most so many (-1: any number)
-- Returns  {removed, '1' when there may be more}
-- Atomic   per bite
-- Used by  RedisStore.sweep_dead
--@use base
local limit, keep = tonumber(ARGV[4]), tonumber(ARGV[5])
-- an end of `(ms` would take that ms in too, all but its last sequence number
local entries = call('XRANGE', P .. 'dead', '-', fmt(math.max(tonumber(ARGV[3]) - 1, 0)), 'COUNT', limit)
local over = keep < 0 and 0 or call('XLEN', P .. 'dead') - keep
if over > #entries then entries = call('XRANGE', P .. 'dead', '-', '+', 'COUNT', math.min(over, limit)) end
local ids = {}
for i, x in ipairs(entries) do
  ids[i] = x[1]
  local id = x[2][10] or x[1] -- somebody else's entry may have fewer fields
  call('HDEL', P .. 'where', id)
  if call('ZREM', P .. 'noted', id) == 1 then call('DEL', P .. 'notes:' .. id) end
end
if #ids == 0 then return { 0, 0 } end
call('XDEL', P .. 'dead', unpack(ids))
local counted = try('HINCRBY', P .. 'meta', 'removed', #ids)
if type(counted) == 'table' then call('HSET', P .. 'meta', 'removed', #ids) end -- no number was there: it begins again
return { #ids, #ids == limit and 1 or 0 }
