-- locate: where a job is now. Returns place, envelope, tag, entry, owner ('' when nobody has claimed it).
-- place: 's' 'z' 't' scheduled, snoozed, retrying; 'b' blocked; 'd' dead; 'r' in a ready stream; nil unknown or ended.
local function locate(id)
  local row = call('HGET', P .. 'where', id)
  if row == 's' or row == 'z' or row == 't' then return row, call('HGET', P .. 'jobs', id) end
  if row and string.sub(row, 1, 2) == 'd:' then
    local entry = string.sub(row, 3)
    local x = call('XRANGE', P .. 'dead', entry, entry)
    if x[1] then return 'd', x[1][2][2], nil, entry, '' end
    return nil
  end
  local function look(tag, entry)
    local x = call('XRANGE', P .. 'ready:' .. tag, entry, entry)
    if not x[1] then return nil end
    local env = x[1][2][2]
    local inside = string.match(env, '^%d+;%d+;%d;([%d%-]*);')
    if inside ~= nil and inside ~= '' and inside ~= id then return nil end
    local p = try('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1)
    return 'r', env, tag, entry, (not p.err and p[1]) and p[1][2] or ''
  end
  if row then return look(string.match(row, '^(.):(.+)$')) end
  local waiting = call('HGET', P .. 'blocked', id)
  if waiting then return 'b', waiting end
  for tag in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
    local place, env, t, entry, owner = look(tag, id)
    if place then return place, env, t, entry, owner end
  end
  return nil
end
