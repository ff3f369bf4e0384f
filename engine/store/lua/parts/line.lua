-- line: who holds an ordering key and who waits behind it, first in, first out.
-- `keys` has a row for each key in use: 13 bytes an id (short), first the holder's job id, then the entries of `blocked` that wait, at
-- most ROOM of them, because a key of its own for a short line costs more than the line. Who comes later is in the tail line:<key>,
-- and a '+' at the row's end says so: nobody looks for a tail that is not there. While there is one, all who come join it.
-- A tail is a sorted set whose scores are all 0, so its order is that of the bytes: entries rise, so that is the order in which they
-- came, and one in the middle of a long tail leaves as cheaply as the first.
-- A row is read once a script and written once, by write_lines. Nothing here raises at a foreign type in a tail's place.
local ROOM, WIDE = 8, 13
local lines, moved_lines = {}, {}
local function shorten(ms, seq) return struct.pack('>I6I7', ms, seq) end
local function short(id) return shorten(string.match(id, '^(%d+)-(%d+)$')) end
local function long(row, at)
  return string.format('%d-%d', struct.unpack('>I6I7', row, at))
end
local function sane(row) -- a row as it can be one. Where bytes are too many or too few, it is not known whether there is a tail: `+` asks
  local over = #row % WIDE
  if over == 0 or (over == 1 and string.sub(row, -1) == '+') then return row end
  return string.sub(row, 1, #row - over) .. '+'
end
local function read_lines(keys) -- many at once
  for at = 1, #keys, 200 do
    for i, row in ipairs(call('HMGET', P .. 'keys', unpack(keys, at, math.min(at + 199, #keys)))) do
      local key = keys[at + i - 1]
      if not lines[key] then lines[key] = sane(row or '') end
    end
  end
end
local function line_of(key)
  local row = lines[key]
  if not row then
    row = sane(call('HGET', P .. 'keys', key) or '')
    lines[key] = row
  end
  return row
end
local function set_line(key, row)
  lines[key] = row
  moved_lines[key] = true
end
local function write_lines()
  local rows, free = {}, {}
  for key in pairs(moved_lines) do
    local row = lines[key]
    if row == '' then
      free[#free + 1] = key
    else
      rows[#rows + 1] = key
      rows[#rows + 1] = row
    end
    if #rows >= 200 then
      call('HSET', P .. 'keys', unpack(rows))
      rows = {}
    end
    if #free >= 200 then
      call('HDEL', P .. 'keys', unpack(free))
      free = {}
    end
  end
  moved_lines = {}
  if #rows > 0 then call('HSET', P .. 'keys', unpack(rows)) end
  if #free > 0 then call('HDEL', P .. 'keys', unpack(free)) end
end
local function is_held(key) return #line_of(key) >= WIDE end -- a row of `+` alone: free, and the tail can't be read now
local function has_tail(row) return #row % WIDE == 1 end
local function join(key, one) -- short: a job id takes a free key; behind a holder, an entry of `blocked` waits
  local row = line_of(key)
  local tailed = has_tail(row)
  if #row >= WIDE and (tailed or #row >= WIDE * (1 + ROOM)) then
    if type(try('ZADD', P .. 'line:' .. key, 0, one)) == 'number' then
      if not tailed then set_line(key, row .. '+') end
      return
    end
  end
  set_line(key, tailed and string.sub(row, 1, -2) .. one .. '+' or row .. one)
end
local function refill(key) -- the next of the tail, as the part of a row they are; nil when they can't be read
  local got = try('ZPOPMIN', P .. 'line:' .. key, ROOM)
  if got.err then return nil end
  local part = ''
  for at = 1, #got, 2 do
    if #got[at] == WIDE then part = part .. got[at] end
  end
  return call('ZCARD', P .. 'line:' .. key) > 0 and part .. '+' or part
end
local function next_of(key) -- the holder has left for good: who is next holds the key. Answers its entry, id, priority and envelope
  local row = line_of(key)
  local rest = string.sub(row, #row >= WIDE and WIDE + 1 or 1)
  while rest do
    if rest == '+' then
      rest = refill(key)
    elseif #rest < WIDE then
      set_line(key, '')
      return nil
    else
      local entry = long(rest, 1)
      local x = call('XRANGE', P .. 'blocked', entry, entry)[1]
      local env = x and x[2][2] or '' -- not there: somebody deleted it by hand
      local head, prio, id, at = string.match(env, '^(%d+;%d+;(%d);)([%d%-]*)();')
      if id == '' then -- blocked at enqueue: its entry's id is the job's
        set_line(key, rest)
        return entry, entry, prio, head .. entry .. string.sub(env, at)
      elseif id and string.find(id, '^%d+%-%d+$') then -- else none of ours: it is left where it is
        set_line(key, short(id) .. string.sub(rest, WIDE + 1))
        return entry, id, prio, env
      end
      rest = string.sub(rest, WIDE + 1)
    end
  end
  set_line(key, '+') -- held by nobody, and whoever holds it next will look at the tail again
  return nil
end
local function leave_line(key, entry)
  local row, one = line_of(key), short(entry)
  for at = WIDE + 1, #row - WIDE + 1, WIDE do
    if string.sub(row, at, at + WIDE - 1) == one then return set_line(key, string.sub(row, 1, at - 1) .. string.sub(row, at + WIDE)) end
  end
  if has_tail(row) then
    try('ZREM', P .. 'line:' .. key, one)
    if try('ZCARD', P .. 'line:' .. key) == 0 then set_line(key, string.sub(row, 1, -2)) end
  end
end
local function place_in_line(key, entry) -- from 1; 0 when it stands nowhere
  local row, one = line_of(key), short(entry)
  for at = WIDE + 1, #row - WIDE + 1, WIDE do
    if string.sub(row, at, at + WIDE - 1) == one then return (at - 1) / WIDE end
  end
  local at = has_tail(row) and try('ZRANK', P .. 'line:' .. key, one)
  return type(at) == 'number' and at + math.max(math.floor(#row / WIDE), 1) or 0
end
