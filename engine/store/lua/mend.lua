#!lua flags=allow-oom
-- mend: look at rows of a queue at one instant, say which contradict the others, and mend those when asked.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  '1' mend, '0' only look    ARGV[4]  ms that notes of ended jobs stay    then pairs: kind, what it is about
--   t job id: `jobs`, `scheduled`, `retrying` and `where` agree         w job id: its row of `where` points at something
--   e tag:entry of a re-added job: `where` knows it                     p tag:entry: pending and still in its stream
--   b entry of `blocked`: it is in its key's line                       k ordering key: its holder is alive
--   f field of `flags`: its job is alive                                n job id: its notes will go
--   s tag: a stream with jobs is among those that are served            c '': the counters are numbers and obey the law of conservation
--   g tag: what is served is a stream, and has its group
-- Returns  an answer for each pair: 0 sound, 1 wrong, 2 was wrong and is mended
-- Atomic   per call, 40 pairs keep it under 2 ms; what is sound is never touched, so a second call mends nothing
-- Used by  RedisStore.examine
--@use base ids envelope line place endings locate
local fix, ttl = ARGV[3] == '1', tonumber(ARGV[4])
sound()
tags = call('HGET', P .. 'meta', 'tags') or ''
local function read(env) -- priority and key of a readable envelope
  local ok, a, _, prio, _, key = pcall(parse, env or '')
  if ok and a then return prio, key end
end
local function holds(id, key)
  return key ~= '' and is_held(key) and long(line_of(key), 1) == id
end
local function drop_timed(id)
  call('ZREM', P .. 'scheduled', id)
  call('ZREM', P .. 'retrying', id)
  call('HDEL', P .. 'jobs', id)
end
local check = {}
function check.t(id)
  local env, row = call('HGET', P .. 'jobs', id), call('HGET', P .. 'where', id)
  local due, again = call('ZSCORE', P .. 'scheduled', id), call('ZSCORE', P .. 'retrying', id)
  local never = string.find((due or '') .. (again or ''), 'inf', 1, true) -- no time that comes
  if not (env or due or again) then return true end -- it has left; a row of `where` alone is `w`
  local prio, key = read(env)
  local here = row == 's' or row == 'z' or row == 't'
  if prio and here and not never and (row == 't') == (again and true) and (row ~= 't') == (due and true) then return true end
  if not fix then return false end
  if not here and locate(id) then -- it is somewhere else: this is a copy that was left behind
    drop_timed(id)
  elseif not prio then -- nothing that could run
    drop_timed(id)
    call('HDEL', P .. 'where', id)
    if env then
      bury(id, env, '', 'undecodable', 'undecodable')
    elseif (due or again) and is_id(id) then -- what is no id was never counted as enqueued
      add('removed', 1)
      tell('removed', id, 'its data was gone')
    end
  else -- the row of where follows the sorted set; without one the job is due now, for its time is lost
    if due and again then call('ZREM', P .. 'retrying', id) end
    if not (due or again) then call('ZADD', P .. 'scheduled', fmt(T), id) end
    if never then call('ZADD', P .. (due and 'scheduled' or 'retrying'), fmt(T), id) end
    local waits = holds(id, key) and 'z' or 's'
    call('HSET', P .. 'where', id, again and not due and 't' or waits)
    must_ring = true
  end
end
function check.w(id)
  local _, env = locate(id)
  if env or call('HEXISTS', P .. 'where', id) == 0 then return true end
  if fix then call('HDEL', P .. 'where', id) end
end
function check.e(at)
  local tag, entry = string.match(at, '^(.):(.+)$')
  local x = call('XRANGE', P .. 'ready:' .. tag, entry, entry)[1]
  local id = x and string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);') or ''
  if id == '' or call('HGET', P .. 'where', id) == at then return true end
  if not fix then return false end
  if not locate(id) then
    call('HSET', P .. 'where', id, at)
  elseif #call('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1) == 0 then -- a second copy that nobody runs yet
    call('XDEL', P .. 'ready:' .. tag, entry)
  else
    return false -- a second copy that runs: its end will settle it
  end
end
function check.p(at)
  local tag, entry = string.match(at, '^(.):(.+)$')
  local stream = P .. 'ready:' .. tag
  if #call('XRANGE', stream, entry, entry) == 1 or #call('XPENDING', stream, 'w', entry, entry, 1) == 0 then return true end
  if fix then call('XACK', stream, 'w', entry) end
end
function check.b(entry)
  local x = call('XRANGE', P .. 'blocked', entry, entry)[1]
  if not x then return true end
  local env = x[2][2]
  local head, id, at = string.match(env, '^(%d+;%d+;%d;)([%d%-]*)();')
  if id == '' then -- blocked at enqueue: its entry's id is the job's
    id, env = entry, head .. entry .. string.sub(env, at)
  end
  local prio, key = read(env)
  if prio and key ~= '' then
    if is_held(key) and place_in_line(key, entry) > 0 then return true end
  end
  if not fix then return false end
  if prio and key ~= '' and is_held(key) then
    join(key, short(entry))
    return
  end
  call('XDEL', P .. 'blocked', entry)
  if prio then
    admit(id, key, prio, env)
  else
    bury(id or entry, env, '', 'undecodable', 'undecodable')
  end
end
function check.k(key)
  if not is_held(key) then return true end
  local place = locate(long(line_of(key), 1))
  if place == 'r' or place == 'z' or place == 't' then return true end
  if fix then hand_over(key) end
end
function check.f(field)
  if call('HEXISTS', P .. 'flags', field) == 0 or locate(string.sub(field, 2)) then return true end
  if fix then call('HDEL', P .. 'flags', field) end
end
function check.n(id)
  if call('ZSCORE', P .. 'noted', id) ~= 'inf' or locate(id) then return true end
  if fix then let_notes_go(id, ttl) end
end
function check.s(tag)
  if string.find(tags, tag, 1, true) or call('XLEN', P .. 'ready:' .. tag) == 0 then return true end
  if not fix then return false end
  ensure(tag)
  rang = true
end
local FULL = 'A1B2C3D4E5F6G7H8I9s' -- every stream there may be
function check.g(tag)
  if not string.find(tags, tag, 1, true) then return true end
  if not string.find(FULL, tag, 1, true) then -- nobody would ever put a job there
    if fix then
      tags = string.gsub(tags, '[^A-I1-9s]', '')
      call('HSET', P .. 'meta', 'tags', tags)
    end
    return false
  end
  local stream = P .. 'ready:' .. tag
  for _, group in ipairs(call('EXISTS', stream) == 1 and call('XINFO', 'GROUPS', stream) or {}) do
    for i = 1, #group, 2 do
      if group[i] == 'name' and group[i + 1] == 'w' then return true end
    end
  end
  if not fix then return false end
  call('XGROUP', 'CREATE', stream, 'w', '0', 'MKSTREAM')
  must_ring = true
end
local COUNTERS = { 'enqueued', 'completed', 'cancelled', 'removed', 'retried', 'snoozed', 'stalled', 'died', 'released', 'requeued',
  'expired', 'refused', 'dropped', 'gate', 'grace' }
function check.c()
  local unread = {}
  for i, value in ipairs(call('HMGET', P .. 'meta', unpack(COUNTERS))) do
    if value and not string.find(value, '^%-?%d+$') then unread[#unread + 1] = COUNTERS[i] end
  end
  if #unread > 0 then
    if not fix then return false end
    call('HDEL', P .. 'meta', unpack(unread)) -- begins again at 0
  end
  local m = call('HMGET', P .. 'meta', 'enqueued', 'completed', 'cancelled', 'removed')
  local missing = tonumber(m[1] or 0) - tonumber(m[2] or 0) - tonumber(m[3] or 0) - tonumber(m[4] or 0)
  for tag in tags:gmatch('.') do missing = missing - call('XLEN', P .. 'ready:' .. tag) end
  for _, zset in ipairs({ 'scheduled', 'retrying' }) do missing = missing - call('ZCARD', P .. zset) end
  for _, stream in ipairs({ 'blocked', 'dead' }) do missing = missing - call('XLEN', P .. stream) end
  if missing == 0 then return #unread == 0 end
  if not fix then return false end
  if missing > 0 then add('removed', missing) else add('enqueued', -missing) end
  tell('written_off', '', fmt(missing))
end
local answers = {}
for i = 5, #ARGV, 2 do
  if check[ARGV[i]](ARGV[i + 1]) then
    answers[#answers + 1] = 0
  elseif fix then
    answers[#answers + 1] = 2
    flush() -- the next one is judged by what this one has changed
  else
    answers[#answers + 1] = 1
  end
end
ring()
return answers
