#!lua flags=allow-oom
-- mend: look at rows of a queue at one instant, say which contradict the others, and mend those when asked.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  '1' mend, '0' only look    ARGV[4]  ms that notes of ended jobs stay    then pairs: kind, what it is about
--   t job id: `jobs`, `scheduled`, `retrying` and `where` agree         w job id: its row of `where` points at something
--   e tag:entry of a re-added job: `where` knows it                     p tag:entry: pending and still in its stream
--   h tag:entry, or the id of a job that is snoozed or retrying: it holds its key. Before `b`: a free key is given away there
--   b entry of `blocked`: it is in its key's line                       k ordering key: its holder is alive
--   f field of `flags`: its job is alive                                n job id: its notes will go
--   s tag: a stream with jobs is among those that are served            c '': the counters are numbers and obey the law of conservation
--   g tag: what is served is a stream, and has its group       m field of `meta`: it is of the form that scripts write and read
-- Returns  an answer for each pair: 0 sound, 1 wrong (and was not asked to mend it, or can't while the job runs), 2 was wrong and is mended
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
local function pending(tag, entry) -- who holds it; nobody where the group is gone
  local p = try('XPENDING', P .. 'ready:' .. tag, 'w', entry, entry, 1)
  return p.err and {} or p
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
  elseif #pending(tag, entry) == 0 then -- a second copy that nobody runs yet
    call('XDEL', P .. 'ready:' .. tag, entry)
  else
    return 'runs' -- a second copy: its end will settle it
  end
end
function check.p(at)
  local tag, entry = string.match(at, '^(.):(.+)$')
  local stream = P .. 'ready:' .. tag
  if #call('XRANGE', stream, entry, entry) == 1 or #pending(tag, entry) == 0 then return true end
  if fix then call('XACK', stream, 'w', entry) end
end
local function cut_in(key, entry) -- first of those that wait
  local row = line_of(key)
  local mark = has_tail(row) and '+' or ''
  local rest = string.sub(row, WIDE + 1, #row - #mark)
  if #rest >= WIDE * ROOM and type(try('ZADD', P .. 'line:' .. key, 0, string.sub(rest, -WIDE))) == 'number' then
    rest, mark = string.sub(rest, 1, -WIDE - 1), '+'
  end
  set_line(key, string.sub(row, 1, WIDE) .. short(entry) .. rest .. mark)
end
local function step_back(id) -- another one runs and has the key
  local place, env, tag, entry = locate(id)
  local a, s, prio, _, key, losses, body = parse(env)
  if place == 'r' then
    local to = append('blocked', 'j', pack(a, s, prio, id, key, losses, body))
    call('XDEL', P .. 'ready:' .. tag, entry)
    call('HSET', P .. 'where', id, 'b:' .. to)
    cut_in(key, to)
  else -- joins the line once its time has come
    local due = call('ZSCORE', P .. 'retrying', id)
    if due then
      call('ZREM', P .. 'retrying', id)
      call('ZADD', P .. 'scheduled', due, id)
    end
    call('HSET', P .. 'where', id, 's')
  end
end
local function alive(id) -- of a job that must hold its key: the key, and who runs it
  local place, env, tag, entry, owner = locate(id)
  if place ~= 'r' and place ~= 'z' and place ~= 't' then return nil end
  local prio, key = read(env)
  return prio and key, owner or '', entry
end
function check.h(about)
  local tag, entry = string.match(about, '^(%w):(.+)$')
  local id = about
  if tag then
    local x = call('XRANGE', P .. 'ready:' .. tag, entry, entry)[1]
    id = x and string.match(x[2][2], '^%d+;%d+;%d;([%d%-]*);')
    if id == '' then id = entry end
  end
  if not id then return true end
  local key, owner, at = alive(id)
  -- of two copies this may be the one that its id does not lead to: `e`
  if not key or key == '' or holds(id, key) or (tag and at ~= entry) then return true end
  if not fix then return false end
  local row, rival, its_owner = line_of(key), nil, nil
  if is_held(key) then
    rival = long(row, 1)
    local of, by = alive(rival)
    if of ~= key then rival = nil end -- gone, or no job of this key
    its_owner = by
  end
  if rival and owner == '' then
    step_back(id)
  elseif rival and its_owner ~= '' then
    return 'runs' -- both do: nothing is in order before one of them has ended
  else
    local tail = row == '' and try('ZCARD', P .. 'line:' .. key) -- left behind by a row that was deleted
    set_line(key, short(id) .. (type(tail) == 'number' and tail > 0 and '+' or string.sub(row, is_held(key) and WIDE + 1 or 1)))
    if rival then step_back(rival) end
  end
end
function check.b(entry)
  local x = call('XRANGE', P .. 'blocked', entry, entry)[1]
  if not x then return true end
  local env = x[2][2]
  local head, id, at = string.match(env, '^(%d+;%d+;%d;)([%d%-]*)();')
  if id == '' then -- blocked at enqueue: its entry's id is the job's
    id, env = entry, head .. entry .. string.sub(env, at)
  end
  local prio, key
  if id and is_id(id) then prio, key = read(env) end
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
    bury(id and is_id(id) and id or entry, env, '', 'undecodable', 'undecodable')
  end
end
function check.k(key)
  local stored, row = call('HGET', P .. 'keys', key), line_of(key)
  local whole_row = not stored or (stored ~= '' and stored == row)
  local place = is_held(key) and locate(long(row, 1))
  local held = place == 'r' or place == 'z' or place == 't'
  if whole_row and (held or not is_held(key)) then return true end
  if not fix then return false end
  if not held then return handovers({ key }) end
  local tail = try('ZCARD', P .. 'line:' .. key) -- bytes too many or too few: what is left of the row, and its tail where there is one
  set_line(key, tail == 0 and has_tail(row) and string.sub(row, 1, -2) or row)
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
function check.g(tag)
  if not string.find(tags, tag, 1, true) then return true end
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
local FULL = 'A1B2C3D4E5F6G7H8I9s' -- every stream there may be, in the order in which they are served
local put_right = {}
function put_right.ms(ms, seq) reserve_from(fmt(ms), fmt(seq), 16) end -- above every id there is
function put_right.seq() call('HSET', P .. 'meta', 'seq', fmt(LAST + 1)) end -- on in the next millisecond
function put_right.paused(value) call('HSET', P .. 'meta', 'paused', '0;' .. fmt(T) .. ';' .. value) end -- until somebody resumes it
function put_right.tags()
  local list = {}
  for tag in FULL:gmatch('.') do
    if string.find(tags, tag, 1, true) then list[#list + 1] = tag end
  end
  tags = table.concat(list)
  call('HSET', P .. 'meta', 'tags', tags)
end
local function in_order(list) -- each stream once, and none that there can't be
  local last = 0
  for tag in list:gmatch('.') do
    local at = string.find(FULL, tag, 1, true) or 0
    if at <= last then return false end
    last = at
  end
  return true
end
function check.m(field)
  local value, ms, seq = call('HGET', P .. 'meta', field), nil, nil
  if field == 'ms' then -- an id that somebody put in by hand may be above it, too
    ms, seq = tops()
    if not value or (whole(value) and ms <= math.max(T, whole(value))) then return true end
  elseif field == 'tags' then
    if value and in_order(value) or not value and call('HEXISTS', P .. 'meta', 'ms') == 0 then return true end -- not used yet
  elseif field == 'paused' then
    if not value or whole(string.match(value, '^(%d+);%d+;')) then return true end
  elseif not value or whole(value) then
    return true
  end
  if not fix then return false end
  if field == 'tags' and not value then
    reserve(16) -- finds them
    must_ring = true
  elseif put_right[field] then
    put_right[field](ms or value, seq)
  else
    call('HDEL', P .. 'meta', field) -- begins again
  end
end
local COUNTERS = { 'enqueued', 'completed', 'cancelled', 'removed', 'retried', 'snoozed', 'stalled', 'died', 'released', 'requeued',
  'expired', 'refused', 'dropped', 'gate', 'grace' }
function check.c()
  local unread = {}
  for i, value in ipairs(call('HMGET', P .. 'meta', unpack(COUNTERS))) do
    if value and (#value > 18 or not string.find(value, '^%-?%d+$')) then unread[#unread + 1] = COUNTERS[i] end
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
  local answer = check[ARGV[i]](ARGV[i + 1])
  if answer == true then
    answers[#answers + 1] = 0
  elseif fix and answer ~= 'runs' then
    answers[#answers + 1] = 2
    flush() -- the next one is judged by what this one has changed
  else
    answers[#answers + 1] = 1
  end
end
ring()
return answers
