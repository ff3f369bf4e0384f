#!lua
-- enqueue: add jobs, each once however often the call is sent.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  producer  ARGV[4]  call number of that producer, rising
-- ARGV[5]  most jobs that may wait (0: no limit): waiting, blocked, scheduled and retrying ones; active ones do not count
-- ARGV[6]  what happens to a job beyond that: 'refuse' it, or 'drop-oldest' (part `oldest`; refused all the same when nobody can go)
-- then for each job two: head "prio;delay_ms;at_ms;window_ms;klen;" .. ordering key .. dedup key, and the body
-- Returns  {ms, first_seq, {index, older id, ...}}: job i (from 0) has id ms-(first_seq+i); the listed ones are duplicates
--          when not all fitted, three more: jobs from index 4th on pushed out an older one each, those from index 5th on were
--          refused instead, so many wait now; duplicates need no room, and are neither
--          {'stale'}: a later call of this producer was already answered
-- Errors   OOM at maxmemory before any write (no allow-oom flag, on purpose)
-- Atomic   the whole call; the same number again gives the same answer and adds nothing
-- Used by  RedisStore.enqueue
--@use base
local me, no = 'p:' .. ARGV[3], tonumber(ARGV[4])
local meta = call('HMGET', P .. 'meta', 'ms', 'seq', 'tags', 'enqueued', me, 'rung')
if meta[5] then
  local last = tonumber(string.match(meta[5], '^%d+')) or 0 -- what somebody wrote over it is no answer
  if no < last then return { 'stale' } end
  local ms, seq, dups, full, cut, waiting
  if no == last then ms, seq, dups, full, cut, waiting = string.match(meta[5], '^%d+|%d+|(%d+)|(%d+)|([^|]*)|?(%d*)|?(%d*)|?(%d*)$') end
  if ms then
    call('HSET', P .. 'meta', me, meta[5]) -- a write: WAIT waits for those of its own connection, and this may be another one
    local again = {}
    for part in dups:gmatch('[^,]+') do again[#again + 1] = part end
    if full == '' then return { ms, seq, again } end
    return { ms, seq, again, tonumber(full), tonumber(cut), tonumber(waiting) }
  end
end
local n = (#ARGV - 6) / 2
local limit, drops = tonumber(ARGV[5]), ARGV[6] == 'drop-oldest'
local room, after, look = n, nil, nil -- how many more may wait, n when all may; tag -> the last that was claimed of that stream
if limit > 0 then
  local aside, ready = call('XLEN', P .. 'blocked') + call('ZCARD', P .. 'scheduled') + call('ZCARD', P .. 'retrying'), 0
  for tag in (meta[3] or ''):gmatch('.') do ready = ready + call('XLEN', P .. 'ready:' .. tag) end
  if aside + ready + n > limit or not meta[1] then -- active ones are among `ready`: here they make the difference
--@use unclaimed
    look = function(tags)
      room, after = limit - aside, {}
      for tag in tags:gmatch('.') do
        local waiting, last = unclaimed(tag)
        room, after[tag] = room - waiting, last
      end
    end
    if meta[1] then look(meta[3] or '') end
  end
end
-- the usual call: jobs with one head, no key, due now, in a stream that exists, with ids of this millisecond. It is answered before
-- the closures of the parts below are built, which cost more than its own commands do (docs/performance.md)
local head
for i = 7, #ARGV, 2 do
  head = head or ARGV[i]
  if ARGV[i] ~= head then
    head = ''
    break
  end
end
local enqueued, ms, seq = whole(meta[4]) or 0, whole(meta[1]), whole(meta[2])
local is_now = ms and seq and (T > ms or T == ms and seq <= LAST)
local plain = (room >= n or not drops) and is_now and string.match(head or '', '^(%d);0;0;%d+;0;$')
if plain and string.find(meta[3] or '', plain, 1, true) then
  local m = n
  if room < n then m = math.max(room, 0) end
  if T > ms then ms, seq = T, FIRST end
  seq = seq + tonumber(ARGV[1])
  local stream, fresh, at = P .. 'ready:' .. plain, '1;0;' .. plain .. ';;0;0;', fmt(ms) .. '-'
  for i = 1, m do call('XADD', stream, at .. fmt(seq + i), 'j', fresh .. ARGV[6 + i * 2]) end
  -- written after its jobs and not before: only the first XADD can fail (a foreign type), and then nothing has happened
  local first = fmt(seq + 1)
  local answer = fmt(no) .. '|' .. fmt(T) .. '|' .. fmt(ms) .. '|' .. first .. '|'
  if m < n then answer = answer .. '|' .. m .. '|' .. m .. '|' .. fmt(limit - room + m) end
  call('HSET', P .. 'meta', 'ms', fmt(ms), 'seq', fmt(seq + n + 1), 'enqueued', fmt(enqueued + m), me, answer, 'rung',
    m > 0 and '1' or meta[6] or '0')
  if m > 0 and meta[6] ~= '1' then try('XADD', P .. 'bell', 'MAXLEN', '1', at .. fmt(seq + n + 1), 't', fmt(T)) end
  if m == n then return { fmt(ms), first, {} } end
  try('HINCRBY', P .. 'meta', 'refused', n - m) -- not a number: the doctor tells, and the jobs are in
  return { fmt(ms), first, {}, m, m, limit - room + m }
end
--@use ids envelope line place
local seen
local all_keys, touches_more = {}, false
for i = 7, #ARGV, 2 do -- a job without a key that may run at once touches nothing that `sound` looks at
  if ARGV[i] ~= seen then
    seen = ARGV[i]
    if not string.find(seen, '^%d;0;0;%d+;0;') then
      touches_more = true
      local size, at = string.match(seen, '^%d;%d+;%d+;%d+;(%d+);()')
      if size ~= '0' then all_keys[#all_keys + 1] = string.sub(seen, at, at + size - 1) end
    end
  end
end
if touches_more or look then sound() end
if #all_keys > 1 then read_lines(all_keys) end
reserve_from(known(meta[1], meta[3]), meta[2], n + 1)
tags = tags or meta[3] or ''
if look and not meta[1] then look(tags) end
local make_room, gone_keys
if drops and room < n then
--@use endings oldest
  gone_keys = {} -- of holders that made room
  make_room = function() return push_out(after, gone_keys) end
end
local ms, first = fmt(ids_ms), ids_seq + 1
local dups, added, full, cut = {}, 0, n, n
local since = ids_ms > T and { 's', fmt(T) } or {} -- the clock was set back: such an id does not tell since when its job could run
head = nil
local prio, delay, at, window, key, dedup, fresh
-- one class of hashes a window length (power of two ms), two generations each: exact, enumerable, and they expire. Generations are
-- counted from the ids' clock, which does not go back when the server's is set back
local classes
local function holder_of(dedup_key) -- the id that has this dedup key inside its window
  classes = call('HGET', P .. 'meta', 'dedups') or ''
  for c in classes:gmatch('%d+') do
    local span = 2 ^ tonumber(c)
    local generation = math.floor(ids_ms / span)
    for g = generation, generation - 1, -1 do
      local row = call('HGET', P .. 'dedup:' .. c .. ':' .. fmt(g), dedup_key)
      if row then
        local old, till = string.match(row, '^([%d%-]+);(%d+)$')
        if till and tonumber(till) > T then return old end
      end
    end
  end
end
local function remember(dedup_key, id)
  local _, class = math.frexp(window)
  class = fmt(math.max(class, 16)) -- a minute at least: short windows must not make a hash each
  if not string.find(',' .. classes .. ',', ',' .. class .. ',', 1, true) then
    call('HSET', P .. 'meta', 'dedups', classes == '' and class or classes .. ',' .. class)
  end
  local span = 2 ^ tonumber(class)
  local home = P .. 'dedup:' .. class .. ':' .. fmt(math.floor(ids_ms / span))
  call('HSET', home, dedup_key, id .. ';' .. fmt(T + window))
  call('PEXPIRE', home, fmt(2 * span))
end
local fits
if look then
  fits = function(i) -- there is room for job i, or room is made: one out, one in
    if room > 0 then
      room = room - 1
      return true
    end
    full = math.min(full, i)
    if cut == n and make_room and make_room() then return true end
    cut = math.min(cut, i)
    add('refused', 1)
    return false
  end
end
for i = 0, n - 1 do
  local h, body = ARGV[7 + i * 2], ARGV[8 + i * 2]
  if h ~= head then -- most calls carry many jobs with the same head
    head = h
    local kl, pos
    prio, delay, at, window, kl, pos = string.match(h, '^(%d);(%d+);(%d+);(%d+);(%d+);()')
    delay, at, window, kl = tonumber(delay), tonumber(at), tonumber(window), tonumber(kl)
    key, dedup = string.sub(h, pos, pos + kl - 1), string.sub(h, pos + kl)
    fresh = '1;0;' .. prio .. ';;' .. kl .. ';0;' .. key
  end
  ids_seq = ids_seq + 1
  local id = ms .. '-' .. fmt(ids_seq)
  local old = dedup ~= '' and holder_of(dedup)
  if old then
    dups[#dups + 1] = i
    dups[#dups + 1] = old
  elseif not look or fits(i) then
    if dedup ~= '' then remember(dedup, id) end
    added = added + 1
    local due = at > 0 and at or (delay > 0 and T + UP + delay or 0)
    if due > T then
      call('ZADD', P .. 'scheduled', fmt(due), id)
      call('HSET', P .. 'jobs', id, pack(1, 0, prio, id, key, '', body))
      where_rows[#where_rows + 1] = id
      where_rows[#where_rows + 1] = 's'
      must_ring = true -- it may be due before what the promoters sleep for
    elseif key ~= '' and is_held(key) then
      call('XADD', P .. 'blocked', id, 'j', fresh .. body)
      join(key, shorten(ids_ms, ids_seq))
    else
      ensure(prio)
      call('XADD', P .. 'ready:' .. prio, id, 'j', fresh .. body, unpack(since))
      rang = true
      if key ~= '' then join(key, shorten(ids_ms, ids_seq)) end
    end
  end
end
write_rows()
local answer = fmt(no) .. '|' .. fmt(T) .. '|' .. ms .. '|' .. fmt(first) .. '|' .. table.concat(dups, ',')
if full < n then answer = answer .. '|' .. full .. '|' .. cut .. '|' .. fmt(limit - room) end
call('HSET', P .. 'meta', 'enqueued', fmt(enqueued + added), me, answer)
if gone_keys and #gone_keys > 0 then handovers(gone_keys) end -- last: what it adds anew has ids above all of these
ring()
if full < n then return { ms, fmt(first), dups, full, cut, limit - room } end
return { ms, fmt(first), dups }
