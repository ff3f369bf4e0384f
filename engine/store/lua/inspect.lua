#!lua flags=no-writes,allow-oom
-- inspect: all that is known of one job that is still kept outside `done`.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    ARGV[3]  job id
-- Returns  {place, envelope, tag, owner, due ms or 0, holder of its key, its place in the key's line, jobs in front of it,
--          {dead entry's fields}, {notes}, now_ms, idle ms, '1' when its cancel was asked, its entry}; place '' when unknown
--          jobs in front: counted up to 1000
-- Used by  RedisStore.inspect
--@use base envelope line locate
local id = ARGV[3]
local place, env, tag, entry, owner = locate(id)
local notes = call('HGETALL', P .. 'notes:' .. id)
local asked = call('HEXISTS', P .. 'flags', 'c' .. id)
if not place then return { '', '', '', '', 0, '', 0, 0, {}, notes, T, 0, asked, '' } end
local due, holder, line, front, dead, idle = 0, '', 0, 0, {}, 0
if place == 's' or place == 'z' then due = tonumber(call('ZSCORE', P .. 'scheduled', id) or 0) end
if place == 't' then due = tonumber(call('ZSCORE', P .. 'retrying', id) or 0) end
if place == 'd' then dead = call('XRANGE', P .. 'dead', entry, entry)[1][2] end
if place == 'b' then
  local _, _, _, _, key = parse(env)
  holder = is_held(key) and long(line_of(key), 1) or ''
  line = place_in_line(key, entry)
end
if place == 'r' then
  if owner == '' then
    for t in (call('HGET', P .. 'meta', 'tags') or ''):gmatch('.') do
      local groups = try('XINFO', 'GROUPS', P .. 'ready:' .. t)
      for _, g in ipairs(groups.err and {} or groups) do
        for x = 1, #g, 2 do
          if g[x] == 'last-delivered-id' then
            front = front + #call('XRANGE', P .. 'ready:' .. t, '(' .. g[x + 1], t == tag and '(' .. entry or '+', 'COUNT', 1000)
          end
        end
      end
      if t == tag or front >= 1000 then break end
    end
  else
    idle = call('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1)[1][3]
  end
end
return { place, env, tag or '', owner or '', due, holder, line, front, dead, notes, T, idle, asked, entry or '' }
