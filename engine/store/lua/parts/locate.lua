-- locate: where a job is now. Returns place, envelope, tag, entry, owner ('' when nobody has claimed it).
-- place: 's' 'z' 't' scheduled, snoozed, retrying; 'b' blocked (entry of `blocked`); 'd' dead; 'r' in a ready stream; nil unknown or ended.
local function is_id(id) -- what is none must not reach a stream command: the error would end the script, in the midst of its writes perhaps
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms and #ms <= 15 and #seq <= 17
end
local function locate(id)
  local row = call('HGET', P .. 'where', id)
  if row == 's' or row == 'z' or row == 't' then return row, call('HGET', P .. 'jobs', id) end
  local aside, its_entry = string.match(row or '', '^([bd]):(.+)$')
  if not is_id(aside and its_entry or row and string.sub(row, 3) or id) then return nil end
  if aside then
    local x = call('XRANGE', P .. (aside == 'b' and 'blocked' or 'dead'), its_entry, its_entry)
    if x[1] then return aside, x[1][2][2], nil, its_entry, '' end
    return nil
  end
  local function entry_of(stream, entry) -- of this job: an entry id of a job that has moved is nobody's id
    local x = call('XRANGE', P .. stream, entry, entry)
    local inside = x[1] and string.match(x[1][2][2], '^%d+;%d+;%d;([%d%-]*);') or ''
    return (inside == '' or inside == id) and x[1] and x[1][2][2]
  end
  local function look(tag, entry)
    local env = entry_of('ready:' .. tag, entry)
    if not env then return nil end
    local p = try('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1)
    return 'r', env, tag, entry, (not p.err and p[1]) and p[1][2] or ''
  end
  if row then return look(string.match(row, '^(.):(.+)$')) end
  local waiting = entry_of('blocked', id)
  if waiting then return 'b', waiting, nil, id, '' end
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    local place, env, t, entry, owner = look(tag, id)
    if place then return place, env, t, entry, owner end
  end
  return nil
end
