#!lua flags=allow-oom
-- step: settle what finished, claim what fits. The only claimer; one numbered call in flight per worker.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  call number    ARGV[5]  want    ARGV[6]  held by the whole process after these settles
-- ARGV[7]  ms that notes of ended jobs stay  ARGV[8]  done record, packed by the worker ('' none)
-- ARGV[9]  h, then h pairs: metrics field, count
-- then g, then g groups of plain completions: tag, keyed (0/1), n, n entries, and when keyed n pairs (ordering key, job id)
-- then other settles, 8 each: verb, tag, entry, job id, ordering key, what, why, envelope
--   c completed (what: result blob or '')      r retry (what: delay_ms, why: error line)   z snooze (what: delay_ms)
--   l release (what: '1' when it is a suspect)  d dead (what: info, why: "fingerprint reason") x cancelled (why: reason)
-- Returns  {status, lost entries, {tag, rows, ...}, now_ms, paused until (-1 no, 0 until resumed), next due ms, drain, epoch,
--           pause "until;since;reason" or ''}
--          'ok'; 'again' for a re-send: same lost list, rows = everything pending for this worker (adopt the unknown);
--          'stale' for a call older than the last: nothing done
-- Fence    XACK of an entry that was reclaimed or released answers 0: it is reported lost and nothing else is done for it
-- Atomic   all of it. The call number is written right after the settles, so an error below can't make a re-send lie
-- Used by  RedisStore.step
--@use base next
local me, no, want, held, ttl = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local meta = call('HMGET', P .. 'meta', 'tags', 'paused', 'epoch', 'w:' .. me, 'solo', 'gate', 'rung')
-- the usual call of an idle worker: nothing to settle, no suspect, nobody paused. It is answered before the closures of the parts
-- below are built, which cost more than its own commands do (docs/performance.md)
local streams, gate = string.len(meta[1] or ''), whole(meta[6]) or 0
if #ARGV == 10 and streams > 0 and not meta[2] and gate <= T and not string.find(meta[1], 's', 1, true)
  and (streams == 1 or (want < 10 and no % 10 > 0)) and no > (tonumber(string.match(meta[4] or '0', '^%d+')) or 0) then
  local due, rows, got, cut = next_due(), {}, 0, false -- asked first: it fails where `scheduled` has a foreign type
  for tag in meta[1]:gmatch('.') do
    if got >= want then break end
    local r = try('XREADGROUP', 'GROUP', 'w', me, 'COUNT', want - got, 'STREAMS', P .. 'ready:' .. tag, '>')
    if r and r.err then -- a group is gone: below it is made again
      cut = true
      break
    end
    if r then
      rows[#rows + 1] = tag
      rows[#rows + 1] = r[1][2]
      got = got + #r[1][2]
    end
  end
  if got > 0 or not cut then
    if got < want and not cut and meta[7] == '1' then
      call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|', 'rung', '0') -- this worker goes to sleep: ring again
    else
      call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|')
    end
    return { 'ok', {}, rows, T, -1, due, 0, meta[3] or '', '' }
  end
end
--@use ids envelope line place endings
tags = meta[1] or ''
local epoch = meta[3] or ''
if not known(true, meta[1]) then -- first use, or meta is gone or written over: find the streams that are still there
  reserve(16)
  epoch = call('HGET', P .. 'meta', 'epoch')
end
local paused, pause = -1, meta[2] or ''
if meta[2] then
  paused = whole(string.match(meta[2], '^(%d+);%d+;'))
  if not paused then paused, pause = 0, '0;0;' .. pause end -- not ours: whoever wrote it may have meant that nothing should run
  if paused > 0 and paused <= T then -- a timed pause that is over
    call('HDEL', P .. 'meta', 'paused')
    tell('resumed', '', 'timed pause ended')
    paused, pause = -1, ''
  end
end
if meta[4] then
  local last, refused = string.match(meta[4], '^(%d+)|(.*)$')
  last = tonumber(last) or 0 -- somebody wrote over it: as if there were none
  if no < last then return { 'stale', {}, {}, T, paused, 0, 0, epoch, '' } end
  if no == last then -- its reply was lost: answer again from the pending list
    local lost, rows = {}, {}
    for e in refused:gmatch('[^,]+') do lost[#lost + 1] = e end
    for tag in tags:gmatch('.') do
      local pending = try('XPENDING', P .. 'ready:' .. tag, 'w', '-', '+', '5000', me)
      if not pending.err and #pending > 0 then
        local got = {}
        for _, r in ipairs(pending) do
          local x = call('XRANGE', P .. 'ready:' .. tag, r[1], r[1])
          if x[1] then got[#got + 1] = x[1] end
        end
        rows[#rows + 1] = tag
        rows[#rows + 1] = got
      end
    end
    return { 'again', lost, rows, T, paused, 0, 0, epoch, pause }
  end
end
-- settles ------------------------------------------------------------------------------------------------------------
local h = tonumber(ARGV[9])
local b = 10 + h * 2
local lost, gone_keys, acked = {}, {}, {}
local completed = 0
local flags = call('EXISTS', P .. 'flags') == 1
local function bulk(tag, n) -- plain completions of one stream; answers which entries were lost
  local stream, last = P .. 'ready:' .. tag, b + n - 1
  if call('XACK', stream, 'w', unpack(ARGV, b, last)) == n then
    call('XDEL', stream, unpack(ARGV, b, last))
    completed = completed + n
    return nil
  end
  -- rare: XACK does not tell which were refused. An entry that is still there and was delivered is one it just acked.
  local missing, mine, top_ms, top_seq = {}, {}, 0, 0
  local groups = try('XINFO', 'GROUPS', stream)
  for _, g in ipairs(groups.err and {} or groups) do
    for x = 1, #g, 2 do
      if g[x] == 'last-delivered-id' then
        local a, c = string.match(g[x + 1], '(%d+)-(%d+)')
        top_ms, top_seq = tonumber(a), tonumber(c)
      end
    end
  end
  for x = b, last do
    local a, c = string.match(ARGV[x], '(%d+)-(%d+)')
    a, c = tonumber(a), tonumber(c)
    if #call('XRANGE', stream, ARGV[x], ARGV[x]) == 0 or a > top_ms or (a == top_ms and c > top_seq) then
      missing[ARGV[x]] = true
      lost[#lost + 1] = ARGV[x]
    else
      mine[#mine + 1] = ARGV[x]
    end
  end
  if #mine > 0 then call('XDEL', stream, unpack(mine)) end
  completed = completed + #mine
  return missing
end
local groups = tonumber(ARGV[b])
b = b + 1
local at, touches_more = b, flags -- plain completions of fresh jobs without a key touch nothing that `sound` looks at
for _ = 1, groups do
  local keyed = ARGV[at + 1] == '1'
  touches_more = touches_more or keyed
  at = at + 3 + tonumber(ARGV[at + 2]) * (keyed and 3 or 1)
end
if touches_more or at <= #ARGV then sound() end
for _ = 1, groups do
  local tag, keyed, n = ARGV[b], ARGV[b + 1] == '1', tonumber(ARGV[b + 2])
  b = b + 3
  local missing = bulk(tag, n)
  local moved = {}
  for x = 0, n - 1 do
    local entry = ARGV[b + x]
    if not (missing and missing[entry]) then
      local id = entry
      if keyed then
        local key, inner = ARGV[b + n + x * 2], ARGV[b + n + x * 2 + 1]
        if inner ~= '' then
          id = inner
          moved[#moved + 1] = id
        end
        if key ~= '' then gone_keys[#gone_keys + 1] = key end
      end
      if flags then
        call('HDEL', P .. 'flags', 'c' .. id)
        announce(id, 'completed')
      end
    end
    if not (keyed or flags) then break end
  end
  if #moved > 0 then call('HDEL', P .. 'where', unpack(moved)) end
  b = b + (keyed and n * 3 or n)
end
local sooner = false -- something may be due before what other promoters sleep for
local function postpone(zset, place, id, delay, env)
  delay = tonumber(delay)
  call('ZADD', P .. zset, fmt(T + delay + (delay > 0 and UP or 0)), id)
  call('HSET', P .. 'jobs', id, env)
  call('HSET', P .. 'where', id, place)
  sooner = true
end
for i = b, #ARGV, 8 do
  local verb, tag, entry, id, key, what, why, env = unpack(ARGV, i, i + 7)
  if call('XACK', P .. 'ready:' .. tag, 'w', entry) == 0 then
    lost[#lost + 1] = entry
  else
    local acks = acked[tag] or {}
    acked[tag] = acks
    acks[#acks + 1] = entry
    if flags and call('HDEL', P .. 'flags', 'c' .. id) == 1 and (verb == 'r' or verb == 'z' or verb == 'l') then
      verb, why = 'x', 'asked while active'
    end
    if verb == 'c' or verb == 'x' then
      if id ~= entry then call('HDEL', P .. 'where', id) end
      if key ~= '' then gone_keys[#gone_keys + 1] = key end
      if verb == 'c' then
        completed = completed + 1
        if what ~= '' then
          try('HSET', P .. 'notes:' .. id, 'result', what) -- nor is the type of this one: the job is done all the same
          call('ZADD', P .. 'noted', fmt(T), id)
        end
      else
        record_cancelled(id, env, why)
        if why == 'expired' then add('expired', 1) end
      end
      let_notes_go(id, ttl)
      if flags then announce(id, verb == 'c' and 'completed' or 'cancelled') end
    elseif verb == 'r' then
      postpone('retrying', 't', id, what, env)
      add('retried', 1)
      tell('retried', id, why)
    elseif verb == 'z' then
      postpone('scheduled', 'z', id, what, env)
      add('snoozed', 1)
    elseif verb == 'l' then
      local prio = tonumber(prio_of(env))
      local old = call('XRANGE', P .. 'ready:' .. tag, entry, entry)[1] -- settled, and deleted only at the end
      put(what == '1' and 's' or string.sub(FRONTS, prio, prio), id, env, old and old[2][4] or string.match(entry, '^%d+'))
      add('released', 1)
    elseif verb == 'd' then
      local print, reason = string.match(why, '^(%S*) (.*)$')
      bury(id, env, what, print, reason)
      if key ~= '' then gone_keys[#gone_keys + 1] = key end
      if flags then announce(id, 'dead') end
    end
  end
end
call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|' .. table.concat(lost, ','))
for tag, entries in pairs(acked) do call('XDEL', P .. 'ready:' .. tag, unpack(entries)) end
if #gone_keys > 0 then handovers(gone_keys) end
if completed > 0 then
  add('completed', completed)
  if ARGV[8] ~= '' then
    add('done_kept', completed)
    try('XADD', P .. 'done', '*', 'r', ARGV[8], 'n', completed, 'lost', table.concat(lost, ','))
  end
end
for i = 10, 9 + h * 2, 2 do try('HINCRBY', P .. 'metrics', ARGV[i], ARGV[i + 1]) end
-- claims: nothing here may raise, the settles above are written -----------------------------------------------------
local rows, drain, got = {}, 0, 0
local function take(tag, n)
  local r = try('XREADGROUP', 'GROUP', 'w', me, 'COUNT', n, 'STREAMS', P .. 'ready:' .. tag, '>')
  if not r then return 0 end
  if r.err then -- the group is gone: at '0', so that what is still there is delivered; finished entries are deleted
    local made = try('XGROUP', 'CREATE', P .. 'ready:' .. tag, 'w', '0', 'MKSTREAM')
    if not made.err then -- somebody removed the stream, or its group: a new epoch tells every worker
      epoch = fmt(T) .. '.' .. ARGV[1]
      call('HSET', P .. 'meta', 'epoch', epoch)
    end
    r = try('XREADGROUP', 'GROUP', 'w', me, 'COUNT', n, 'STREAMS', P .. 'ready:' .. tag, '>')
    if r and r.err and #ARGV == 10 then error(r) end -- nothing was settled: say what is wrong (rights, a foreign type)
    if not r or r.err then return 0 end
  end
  rows[#rows + 1] = tag
  rows[#rows + 1] = r[1][2]
  return #r[1][2]
end
if want > 0 and paused < 0 and gate <= T then
  local list, solo = {}, false
  for c in tags:gmatch('.') do
    if c == 's' then solo = true else list[#list + 1] = c end
  end
  if solo then -- a suspect runs alone: only a process that holds nothing may take one; one worker at a time drains for it
    local suspects = call('XLEN', P .. 'ready:s')
    if suspects > 0 then
      if held == 0 then
        got = take('s', 1)
        if got > 0 then
          call('HDEL', P .. 'meta', 'solo')
          want = 0
        end
      else
        local pending = try('XPENDING', P .. 'ready:s', 'w')
        local turn_of, till = string.match(meta[5] or '', '^(.*);(%d+)$')
        local left = tonumber(till or 0) - T -- more than a turn: the clock was set back
        if not pending.err and suspects > pending[1] and (not turn_of or turn_of == me or left < 0 or left > 2000) then
          call('HSET', P .. 'meta', 'solo', me .. ';' .. fmt(T + 2000))
          drain, want = 1, 0
        end
      end
    end
  end
  if want > 0 then
    -- ageing: one place in ten goes to the lower priorities in turn, so that 9 is never starved
    local share = math.floor(want / 10)
    if share == 0 and no % 10 == 0 then share = 1 end
    if share > 0 and #list > 1 then
      local ranks = {} -- a priority and its front are one turn; who has nothing passes it on
      for _, tag in ipairs(list) do
        local p = math.ceil(rank(tag))
        if #ranks == 0 or ranks[#ranks].p ~= p then ranks[#ranks + 1] = { p = p } end
        table.insert(ranks[#ranks], tag)
      end
      local lower, turn, before = #ranks - 1, math.floor(no / (want < 10 and 10 or 1)), got
      for k = 0, lower - 1 do
        for _, tag in ipairs(ranks[2 + (turn + k) % lower]) do
          if share > 0 then
            local g = take(tag, share)
            got, want, share = got + g, want - g, share - g
          end
        end
        if got > before then break end
      end
    end
    for _, tag in ipairs(list) do
      if want <= 0 then break end
      local g = take(tag, want)
      got, want = got + g, want - g
    end
  end
end
if gate > T and paused < 0 then paused = gate end
if got > 0 and want > 0 then rang = false end -- the streams are empty again, nobody need wake
must_ring = sooner
-- this worker goes to sleep, so ring again; not one that has a suspect to run first (want 0): it looks again when that has ended
if want > 0 and (meta[7] == '1' or rang) then call('HSET', P .. 'meta', 'rung', '0') end
ring()
return { 'ok', lost, rows, T, paused, next_due(), drain, epoch, pause }
