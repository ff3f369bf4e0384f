-- oldest: a full queue makes room. Of the jobs that are next in their line, of each ready stream and of the blocked, the one that was
-- enqueued first goes. Never an active one; what is scheduled or retrying has its time to come, and stays.
local heads = {} -- stream -> the next in its line, as long as it is
local is_flagged = call('EXISTS', P .. 'flags') == 1
local function next_in(stream, after) -- its first entry after that id, and what of it is looked at
  if heads[stream] then return heads[stream] end
  local x = call('XRANGE', P .. stream, after, '+', 'COUNT', 1)[1]
  if not x then return nil end
  local id, size, at = string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);(%d+);%d+;()') -- nothing of it in what is no envelope of ours
  local key = id and string.sub(x[2][2], at, at + size - 1) or ''
  if not id or id == '' then id = x[1] end
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  heads[stream] = { stream = stream, entry = x[1], id = id, key = key, ms = tonumber(ms), seq = tonumber(seq) }
  return heads[stream]
end
local function older(a, b)
  if not a or not b then return a or b end
  if a.ms ~= b.ms then return a.ms < b.ms and a or b end
  return a.seq < b.seq and a or b
end
local function push_out(after, gone_keys) -- tag -> last id that was delivered; takes the keys whose holders went. False: nobody can go
  local oldest = next_in('blocked', '-')
  for tag in tags:gmatch('.') do
    oldest = older(oldest, next_in('ready:' .. tag, '(' .. (after[tag] or '0-0')))
  end
  if not oldest then return false end
  local id, key = oldest.id, oldest.key
  heads[oldest.stream] = nil
  call('XDEL', P .. oldest.stream, oldest.entry)
  if oldest.stream == 'blocked' then
    leave_line(key, oldest.entry)
  elseif key ~= '' then
    gone_keys[#gone_keys + 1] = key -- it held its key; the next in line has it when this script ends
  end
  if id ~= oldest.entry then -- it was moved or tried before, and may have left something elsewhere
    call('HDEL', P .. 'where', id)
    if call('ZREM', P .. 'noted', id) == 1 then call('DEL', P .. 'notes:' .. id) end
  end
  if is_flagged then announce(id, 'removed') end
  add('removed', 1)
  add('dropped', 1)
  tell('dropped', id, 'to make room: the queue is full')
  return true
end
