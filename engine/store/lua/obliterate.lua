#!lua flags=allow-oom
-- obliterate: remove a queue and all its jobs, a bite a call.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  '1' even when jobs are active    ARGV[4]  most members of a family a call
-- Returns  {'active', n} refused | {'more', 0} call again | {'done', 0} no key of the queue is left
-- Atomic   per bite; the first bite pauses the queue, so that nothing is claimed in between
-- Used by  RedisStore.obliterate
--@use base
local limit = tonumber(ARGV[4])
local dedups, top_ms = unpack(call('HMGET', P .. 'meta', 'dedups', 'ms'))
local active = 0
local ALL = 'A1B2C3D4E5F6G7H8I9s' -- every stream there may be: `meta` that names those in use may be gone
for tag in ALL:gmatch('.') do
  local p = try('XPENDING', P .. 'ready:' .. tag, 'w')
  if not p.err then active = active + p[1] end
end
if active > 0 and ARGV[3] ~= '1' then return { 'active', active } end
if call('EXISTS', P .. 'meta') == 1 then call('HSET', P .. 'meta', 'paused', '0;' .. fmt(T) .. ';being obliterated') end
local function family(zset_or_hash, member_prefix, ids)
  for _, id in ipairs(ids) do
    call('UNLINK', P .. member_prefix .. id)
    if zset_or_hash == 'noted' then call('ZREM', P .. 'noted', id) else call('HDEL', P .. zset_or_hash, id) end
  end
  return #ids
end
if family('noted', 'notes:', call('ZRANGE', P .. 'noted', 0, limit - 1)) == limit then return { 'more', 0 } end
local fields = call('HSCAN', P .. 'keys', '0', 'COUNT', limit)[2]
local held = {}
for i = 1, #fields, 2 do held[#held + 1] = fields[i] end
family('keys', 'line:', held)
if call('EXISTS', P .. 'keys') == 1 then return { 'more', 0 } end
for class in (dedups or ''):gmatch('%d+') do
  local generation = math.floor(math.max(T, whole(top_ms) or 0) / 2 ^ tonumber(class)) -- as in enqueue
  for g = generation - 2, generation + 1 do call('UNLINK', P .. 'dedup:' .. class .. ':' .. fmt(g)) end
end
for tag in ALL:gmatch('.') do call('UNLINK', P .. 'ready:' .. tag) end
call('UNLINK', P .. 'meta', P .. 'metrics', P .. 'bell', P .. 'control', P .. 'jobs', P .. 'where', P .. 'scheduled', P .. 'retrying',
  P .. 'blocked', P .. 'dead', P .. 'done', P .. 'settled', P .. 'flags', P .. 'workers', P .. 'events')
return { 'done', 0 }
