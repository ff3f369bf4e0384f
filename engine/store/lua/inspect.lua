#!lua flags=no-writes,allow-oom
-- inspect: all that is known of one job that is still kept outside `done`.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  job id
-- Returns  {place, envelope, tag, owner, due ms or 0, holder of its key, its place in the key's line, jobs in front of it,
--          {dead entry's fields}, {notes}, now_ms, idle ms, '1' when its cancel was asked, its entry, 1 when more than those
--          are in front}; place '' when unknown. Of steps only the names; jobs in front are counted up to 1000, or 64 KiB
--          of them: there is no other way to count than to read them
-- Used by  RedisStore.inspect
--@use base envelope line locate unclaimed
local id = ARGV[3]
local place, env, tag, entry, owner = locate(id)
local notes, read = {}, {}
for _, name in ipairs(call('HKEYS', P .. 'notes:' .. id)) do
  if string.sub(name, 1, 5) == 'step:' then
    notes[#notes + 1] = name
    notes[#notes + 1] = ''
  else
    read[#read + 1] = name
  end
end
for i, value in ipairs(#read > 0 and call('HMGET', P .. 'notes:' .. id, unpack(read)) or {}) do
  notes[#notes + 1] = read[i]
  notes[#notes + 1] = value
end
local asked = call('HEXISTS', P .. 'flags', 'c' .. id)
if not place then return { '', '', '', '', 0, '', 0, 0, {}, notes, T, 0, asked, '', 0 } end
local due, holder, line, front, dead, idle, more = 0, '', 0, 0, {}, 0, 0
local bytes = 0
local function count(stream, from, upto) -- adds to `front` the entries between, to `more` when it stops before the end
  local bite = 8 -- the first are few: they may be large
  while true do
    local found = call('XRANGE', stream, '(' .. from, upto, 'COUNT', bite)
    front = front + #found
    for _, x in ipairs(found) do bytes = bytes + #x[2][2] end
    if #found < bite then return end
    from, bite = found[#found][1], 100
    if front >= 1000 or bytes > 65536 then
      more = 1
      return
    end
  end
end
if place == 's' or place == 'z' then due = tonumber(call('ZSCORE', P .. 'scheduled', id) or 0) end
if place == 't' then due = tonumber(call('ZSCORE', P .. 'retrying', id) or 0) end
if place == 'd' then dead = call('XRANGE', P .. 'dead', entry, entry)[1][2] end
if place == 'b' then
  local ok, _, _, _, _, its_key = pcall(parse, env)
  local key = ok and its_key or '' -- of what is no envelope it is not known
  holder = is_held(key) and long(line_of(key), 1) or ''
  line = place_in_line(key, entry)
end
if place == 'r' then
  if owner == '' then
    for t in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
      local _, last = unclaimed(t)
      count(P .. 'ready:' .. t, last, t == tag and '(' .. entry or '+')
      if t == tag or more == 1 then break end
    end
  else
    idle = call('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1)[1][3]
  end
end
return { place, env, tag or '', owner or '', due, holder, line, front, dead, notes, T, idle, asked, entry or '', more }
