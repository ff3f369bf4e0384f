#!lua flags=allow-oom
-- renew: keep leases young, only where the caller still owns them.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  '*': whatever is pending for it, 500 a stream at most, and nothing more; else ''
-- then three each: tag, entry, job id; rising within a tag, 200 a call keep it under 2 ms
-- Returns  {lost entries, those of these ids that somebody asked to cancel}
-- Atomic   check and claim are one step: XCLAIM alone checks no owner and would steal the entry back from its new one.
--          Idempotent by nature; never FORCE
-- Used by  RedisStore.renew, RedisStore.renew_all
--@use base
local me, by_tag, lost = ARGV[3], {}, {}
if ARGV[4] == '*' then
  local tags = try('HGET', P .. 'meta', 'tags')
  for tag in (type(tags) == 'string' and tags or ''):gmatch('.') do
    local mine = try('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', '500', me)
    for i, r in ipairs(mine.err and {} or mine) do mine[i] = r[1] end
    if #mine > 0 then
      mine[#mine + 1] = 'JUSTID'
      call('XCLAIM', P .. 'ready:' .. tag, 'w', me, '0', unpack(mine))
    end
  end
  return { {}, {} }
end
local fields = {}
for i = 5, #ARGV, 3 do
  local list = by_tag[ARGV[i]] or {}
  by_tag[ARGV[i]] = list
  list[#list + 1] = ARGV[i + 1]
  fields[#fields + 1] = 'c' .. ARGV[i + 2]
end
for tag, entries in pairs(by_tag) do
  local stream, mine, keep = P .. 'ready:' .. tag, {}, {}
  local pending = try('XPENDING', stream, 'w', entries[1], entries[#entries], '5000', me)
  for _, r in ipairs(pending.err and {} or pending) do mine[r[1]] = true end
  for _, e in ipairs(entries) do
    if mine[e] then keep[#keep + 1] = e else lost[#lost + 1] = e end
  end
  if #keep > 0 then
    keep[#keep + 1] = 'JUSTID'
    call('XCLAIM', stream, 'w', me, '0', unpack(keep))
  end
end
local asked = {}
if #fields > 0 and call('EXISTS', P .. 'flags') == 1 then -- asked for by name: most fields are those of who waits for an end
  local told = try('HMGET', P .. 'flags', unpack(fields)) -- of a foreign type: the leases are renewed all the same
  for i, since in ipairs(told.err and {} or told) do
    if since then asked[#asked + 1] = string.sub(fields[i], 2) end
  end
end
return { lost, asked }
