#!lua flags=no-writes,allow-oom
-- foreign: which keys of a queue hold another type than the engine's. Only their types are looked at.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    then for each key two: `hash`, `zset` or `stream`, as it should be, and its name
--          behind the prefix; `dedup:` stands for every hash of that family that may be there
-- Returns  the names of those that are foreign; one that is not there is not
-- Used by  RedisStore.foreign
--@use base
local found = {}
local function look(kind, name)
  local key, n = P .. name, nil
  if kind == 'hash' then
    n = try('HLEN', key)
  elseif kind == 'zset' then
    n = try('ZCARD', key)
  else
    n = try('XLEN', key)
  end
  if type(n) == 'table' then found[#found + 1] = name end
end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] ~= 'dedup:' then
    look(ARGV[i], ARGV[i + 1])
  elseif type(try('HLEN', P .. 'meta')) == 'number' then
    local dedups, top_ms = unpack(call('HMGET', P .. 'meta', 'dedups', 'ms'))
    for class in (dedups or ''):gmatch('%d+') do
      local generation = math.floor(math.max(T, whole(top_ms) or 0) / 2 ^ tonumber(class)) -- as in enqueue
      for g = generation - 2, generation + 1 do look('hash', 'dedup:' .. class .. ':' .. fmt(g)) end
    end
  end
end
return found
