#!lua
-- enqueue: add jobs, each once however often the call is sent.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  producer  ARGV[4]  call number of that producer, rising
-- ARGV[5]  most jobs that may wait (0: no limit); a call that would pass it is refused whole: FULL
-- then for each job two: head "prio;delay_ms;at_ms;window_ms;klen;" .. ordering key .. dedup key, and the body
-- Returns  {ms, first_seq, {index, older id, ...}}: job i (from 0) has id ms-(first_seq+i); the listed ones are duplicates
--          {'stale'}: a later call of this producer was already answered
-- Errors   OOM at maxmemory before any write (no allow-oom flag, on purpose); FULL
-- Atomic   the whole call; the same number again gives the same answer and adds nothing
-- Used by  RedisStore.enqueue
--@use base
local me, no = 'p:' .. ARGV[3], tonumber(ARGV[4])
local meta = call('HMGET', P .. 'meta', 'ms', 'seq', 'tags', 'enqueued', me, 'rung')
if meta[5] then
  local last, ms, seq, dups = string.match(meta[5], '^(%d+)|%d+|(%d+)|(%d+)|(.*)$')
  last = tonumber(last)
  if no < last then return { 'stale' } end
  if no == last then
    local again = {}
    for part in dups:gmatch('[^,]+') do again[#again + 1] = part end
    return { ms, seq, again }
  end
end
local n = (#ARGV - 5) / 2
local limit = tonumber(ARGV[5])
-- the usual call: jobs with one head, no key, due now, in a stream that exists. It is answered before the closures of the parts
-- below are built, which cost more than its own commands do (docs/performance.md)
local head
for i = 6, #ARGV, 2 do
  head = head or ARGV[i]
  if ARGV[i] ~= head then
    head = ''
    break
  end
end
local plain = limit == 0 and meta[1] and string.match(head or '', '^(%d);0;0;%d+;0;$')
if plain and string.find(meta[3] or '', plain, 1, true) then
  local ms, seq = tonumber(meta[1]), tonumber(meta[2])
  if T > ms then ms, seq = T, 0 end
  seq = seq + tonumber(ARGV[1])
  local stream, fresh, at = P .. 'ready:' .. plain, '1;0;' .. plain .. ';;0;0;', fmt(ms) .. '-'
  for i = 1, n do call('XADD', stream, at .. fmt(seq + i), 'j', fresh .. ARGV[5 + i * 2]) end
  -- written after its jobs and not before: only the first XADD can fail (a foreign type), and then nothing has happened
  local first = fmt(seq + 1)
  call('HSET', P .. 'meta', 'ms', fmt(ms), 'seq', fmt(seq + n + 1), 'enqueued', fmt((meta[4] or 0) + n), me,
    fmt(no) .. '|' .. fmt(T) .. '|' .. fmt(ms) .. '|' .. first .. '|', 'rung', '1')
  if meta[6] ~= '1' then try('XADD', P .. 'bell', 'MAXLEN', '1', at .. fmt(seq + n + 1), 't', fmt(T)) end
  return { fmt(ms), first, {} }
end
--@use ids envelope line place
tags = meta[3] or ''
if limit > 0 then
  local waiting = call('XLEN', P .. 'blocked') + call('ZCARD', P .. 'scheduled')
  for tag in tags:gmatch('.') do waiting = waiting + call('XLEN', P .. 'ready:' .. tag) end
  if waiting + n > limit then return redis.error_reply('FULL ' .. fmt(waiting) .. ' jobs wait, at most ' .. fmt(limit) .. ' may') end
end
local seen
local all_keys, touches_more = {}, false
for i = 6, #ARGV, 2 do -- a job without a key that may run at once touches nothing that `sound` looks at
  if ARGV[i] ~= seen then
    seen = ARGV[i]
    if not string.find(seen, '^%d;0;0;%d+;0;') then
      touches_more = true
      local size, at = string.match(seen, '^%d;%d+;%d+;%d+;(%d+);()')
      if size ~= '0' then all_keys[#all_keys + 1] = string.sub(seen, at, at + size - 1) end
    end
  end
end
if touches_more then sound() end
if #all_keys > 1 then read_lines(all_keys) end
reserve_from(meta[1], meta[2], n + 1)
local ms, first = fmt(ids_ms), ids_seq + 1
local dups, added = {}, 0
head = nil
local prio, delay, at, window, key, dedup, fresh
local function first_with(dedup_key, id) -- the id already holding this dedup key inside its window, else nil and take it
  -- one class of hashes a window length (power of two ms), two generations each: exact, enumerable, and they expire
  local _, class = math.frexp(window)
  local classes = call('HGET', P .. 'meta', 'dedups') or ''
  for c in classes:gmatch('%d+') do
    local span = 2 ^ tonumber(c)
    local generation = math.floor(T / span)
    for g = generation, generation - 1, -1 do
      local row = call('HGET', P .. 'dedup:' .. c .. ':' .. fmt(g), dedup_key)
      if row then
        local old, till = string.match(row, '^([%d%-]+);(%d+)$')
        if tonumber(till) > T then return old end
      end
    end
  end
  class = fmt(math.max(class, 16)) -- a minute at least: short windows must not make a hash each
  if not string.find(',' .. classes .. ',', ',' .. class .. ',', 1, true) then
    call('HSET', P .. 'meta', 'dedups', classes == '' and class or classes .. ',' .. class)
  end
  local span = 2 ^ tonumber(class)
  local home = P .. 'dedup:' .. class .. ':' .. fmt(math.floor(T / span))
  call('HSET', home, dedup_key, id .. ';' .. fmt(T + window))
  call('PEXPIRE', home, fmt(2 * span))
  return nil
end
for i = 0, n - 1 do
  local h, body = ARGV[6 + i * 2], ARGV[7 + i * 2]
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
  local old = dedup ~= '' and first_with(dedup, id)
  if old then
    dups[#dups + 1] = i
    dups[#dups + 1] = old
  else
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
      call('XADD', P .. 'ready:' .. prio, id, 'j', fresh .. body)
      rang = true
      if key ~= '' then join(key, shorten(ids_ms, ids_seq)) end
    end
  end
end
write_rows()
call('HSET', P .. 'meta', 'enqueued', fmt((meta[4] or 0) + added), me,
  fmt(no) .. '|' .. fmt(T) .. '|' .. ms .. '|' .. fmt(first) .. '|' .. table.concat(dups, ','))
ring()
return { ms, fmt(first), dups }
