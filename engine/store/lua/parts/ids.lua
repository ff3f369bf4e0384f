-- ids: job and entry ids `<ms>-<seq>`, and the streams in use.
-- reserve() writes the counter before the first XADD that needs it: gaps are harmless, reuse is fatal. The random gap
-- keeps an old id from being given again when a rollback (failover, lost AOF tail) brings an old counter back.
local ids_ms, ids_seq, ids_top
local tags
local FRONTS = 'ABCDEFGHI' -- what was released waits in front of its priority: A before 1, B before 2, ... suspects are last
local function rank(tag)
  local front = string.find(FRONTS, tag, 1, true)
  return front and front - 0.5 or tonumber(tag) or 10
end
local function by_order(a, b) return rank(a) < rank(b) end
local function tops() -- the highest id of ours that any stream has had, and which ready streams there are
  local ms, seq, found = 0, 0, {}
  local others = { b = 'bell', d = 'dead', k = 'blocked' } -- their entries have ids of ours too
  for tag in ('A1B2C3D4E5F6G7H8I9sbdk'):gmatch('.') do
    local info = try('XINFO', 'STREAM', P .. (others[tag] or 'ready:' .. tag))
    if not info.err then
      if not others[tag] then found[#found + 1] = tag end
      for k = 1, #info, 2 do
        if info[k] == 'last-generated-id' then
          local a, b = string.match(info[k + 1], '(%d+)-(%d+)')
          a, b = tonumber(a), tonumber(b)
          if a < 1e14 and (a > ms or (a == ms and b > seq)) then ms, seq = a, b end -- above that no clock of ours counts
        end
      end
    end
  end
  return ms, seq, found
end
local function rebuild() -- meta is gone (FLUSHALL, first use): never go below the top of a stream that is still there
  local ms, seq, found = tops()
  local was = whole(call('HGET', P .. 'meta', 'ms')) -- only the names of the streams are gone
  if was and was > ms then ms, seq = was, LAST + 1 end
  tags = table.concat(found)
  call('HSET', P .. 'meta', 'tags', tags, 'epoch', fmt(T) .. '.' .. ARGV[1])
  for tag in tags:gmatch('.') do try('XGROUP', 'CREATE', P .. 'ready:' .. tag, 'w', '0') end
  return ms, seq
end
local function reserve_from(ms, seq, n)
  if not ms then
    ms, seq = rebuild()
  else
    ms, seq = whole(ms), whole(seq)
    if not ms then ms, seq = tops() end -- somebody wrote over it
  end
  if T > ms then
    ms, seq = T, FIRST
  elseif not seq or seq > LAST then -- clock behind the counter: count on
    ms, seq = ms + 1, FIRST
  end
  seq = seq + tonumber(ARGV[1])
  ids_ms, ids_seq, ids_top = ms, seq, seq + n
  call('HSET', P .. 'meta', 'ms', fmt(ms), 'seq', fmt(seq + n))
end
local function known(ms, list) -- the counter's, where the streams in use are known as well: else both are made again
  return list and not string.find(list, '[^A-I1-9s]') and ms
end
local function reserve(n)
  local h = call('HMGET', P .. 'meta', 'ms', 'seq', 'tags')
  tags = h[3] or ''
  reserve_from(known(h[1], h[3]), h[2], n)
end
local function next_id()
  if not ids_seq or ids_seq >= ids_top then reserve(16) end
  ids_seq = ids_seq + 1
  return string.format('%d-%d', ids_ms, ids_seq)
end
local function append(stream, ...) -- a new entry of a stream; its id
  local entry = next_id()
  if type(try('XADD', P .. stream, entry, ...)) == 'table' then -- somebody put in an id above ours: on from there
    local ms, seq = tops()
    reserve_from(fmt(ms), fmt(seq), 16)
    entry = next_id()
    call('XADD', P .. stream, entry, ...)
  end
  return entry
end
local function ensure(tag) -- a stream's group exists before its first entry does
  if not tags then reserve(16) end
  if string.find(tags, tag, 1, true) then return end
  try('XGROUP', 'CREATE', P .. 'ready:' .. tag, 'w', '0', 'MKSTREAM')
  local list = {}
  for c in (tags .. tag):gmatch('.') do list[#list + 1] = c end
  table.sort(list, by_order)
  tags = table.concat(list)
  call('HSET', P .. 'meta', 'tags', tags)
end
