#!lua flags=allow-oom
-- reclaim: take entries whose lease ran out away from their worker: again as a suspect (new entry id, stalls + 1), or dead.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms
-- ARGV[3]  worker    ARGV[4]  lease_ms    ARGV[5]  most entries a stream (40 keeps it under 2 ms)
-- ARGV[6]  stall limit                    ARGV[7]  '1' grace on    then pairs: tag, cursor ('0-0' first)
-- Returns  {{tag, next cursor, ...}, moved, buried, '1' in grace, ms until the next lease that was looked at runs out (-1 none)}; a tag
--          is left out when its stream has nothing pending
-- Leases   an entry is taken when the longer of two leases ran out: the caller's, and its own worker's, which that one's heartbeat told
--          (a worker that told none: the caller's). Rows of workers are read only for entries older than the caller's lease
-- Ages     those that XPENDING tells decide, and no later ones: on Redis 7.0 the clock moves within a script. What XAUTOCLAIM takes and
--          was no lease old then is given back at once, as old as it was: its worker may have a longer lease, of which nobody has read
-- Grace    nobody called for half of that lease (outage, clock jumped): the entry is not taken for a lease and a half, so that a worker
--          which was cut off too can renew first. Kept on the server, because only its clock is everybody's; and as silences, not as
--          graces: each who comes writes how long nobody came, and what it means for which lease is for whoever looks at an entry
-- Atomic   per call; a second call finds nothing
-- Dates    an entry delivered "now" is dated now, for the same worker: one that was delivered while the clock was ahead of what it is
--          since it was set back seems as young, and would for as long, whoever is gone
-- Used by  RedisStore.reclaim
--@use base ids envelope line place endings
local me, lease, count, limit = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local DAY = 86400000 -- ms of a silence of which nobody knows how long it was
local m = call('HMGET', P .. 'meta', 'beat', 'grace', 'tags', 'silences')
local silences = {} -- {ms, its end}: the longest first, and each later than the one before it
local function graced(of) -- ms for which a lease of so many ms is spared, since nobody came for half of it
  local left = 0
  for _, s in ipairs(silences) do
    if s[1] > of / 2 then left = math.max(left, s[2] + of * 1.5 - T) end
  end
  return left
end
if ARGV[7] == '1' then
  local beat, told = whole(m[1]) or 0, whole(m[2]) or 0 -- told: until when, for who looks
  local silence = T - beat
  if silence < -1000 then
    silence, told = DAY, 0
  end
  local must_write = silence > lease / 20 or silence < 0
  if not must_write or beat == 0 or silence < 0 then silence = 0 end -- no beat: nobody ever came, so nobody was away
  for ms, ended in (m[4] or ''):gmatch('(%d+),(%d+);') do
    ms, ended = tonumber(ms), tonumber(ended)
    -- what was no longer than this one says nothing more; and for a lease of twice its length the grace is over after three times that;
    -- one of the future is none: its clock would have been set back since, which is a silence of a day
    if ms > silence and ended + ms * 3 > T and ended <= T + 1000 then silences[#silences + 1] = { ms, ended } end
  end
  if silence > 0 then silences[#silences + 1] = { silence, T } end
  if must_write then
    local row = ''
    for _, s in ipairs(silences) do row = row .. fmt(s[1]) .. ',' .. fmt(s[2]) .. ';' end
    call('HSET', P .. 'meta', 'beat', fmt(T), 'silences', row)
  end
  local left = graced(lease)
  if left > 0 then
    if T + left > told then call('HSET', P .. 'meta', 'grace', fmt(T + left)) end
    return { {}, 0, 0, 1, -1 }
  end
end
local pending = {} -- the streams to look at: on an idle queue none, and that is all
for tag in (m[3] or ''):gmatch('.') do
  local summary = try('XPENDING', P .. 'ready:' .. tag, 'w')
  if not summary.err and summary[1] > 0 then pending[#pending + 1] = tag end
end
if #pending == 0 then return { {}, 0, 0, 0, -1 } end
local cursors = {}
for i = 8, #ARGV, 2 do
  cursors[ARGV[i]] = ARGV[i + 1]
end
sound()
local next_cursors, moved, buried, dated, oldest = {}, 0, 0, 0, -1
local flags = call('EXISTS', P .. 'flags') == 1
local function stalled(entry, value, worker)
  local ok, a, s, p, id, key, losses, body = pcall(parse, value)
  if not ok or not a then
    bury(entry, value, '', 'undecodable', 'undecodable')
    buried = buried + 1
    return
  end
  if id == '' then id = entry end
  add('stalled', 1)
  losses = losses .. fmt(T) .. ',' .. worker .. ';'
  local env = pack(a, s + 1, p, id, key, losses, body)
  if flags and call('HDEL', P .. 'flags', 'c' .. id) == 1 then
    call('HDEL', P .. 'where', id)
    record_cancelled(id, env, 'asked while active')
    let_notes_go(id, 3600000)
    announce(id, 'cancelled')
    hand_over(key)
  elseif s + 1 > limit then
    bury(id, env, '', 'stalled', 'stall limit')
    if flags then announce(id, 'dead') end
    hand_over(key)
    buried = buried + 1
  else
    tell('stalled', id, worker)
    put('s', id, env)
    moved = moved + 1
  end
end
local leases, soonest = {}, -1 -- worker -> its own lease; ms until the first that is longer than the caller's runs out, or its grace
local function lease_of(worker)
  if not leases[worker] then
    local row = try('HGET', P .. 'workers', worker)
    local ok, told = pcall(cmsgpack.unpack, type(row) == 'string' and string.match(row, '^%d+;(.*)$') or '')
    leases[worker] = math.max(lease, ok and type(told) == 'table' and tonumber(told.lease_ms) or 0)
  end
  return leases[worker]
end
for _, tag in ipairs(pending) do
  local stream = P .. 'ready:' .. tag
  -- XAUTOCLAIM looks at ten times COUNT entries from its cursor and changes their owner: read the owners first
  local from, seen, young = cursors[tag] or '0-0', {}, {}
  local lapsed, spared = {}, false -- spared: somebody's lease is longer than the caller's, and holds or is in grace
  local rows = call('XPENDING', stream, 'w', from, '+', count * 10)
  for _, r in ipairs(rows) do
    seen[r[1]] = r
    if r[3] < lease then
      if r[3] > oldest then oldest = r[3] end
    else
      local its = lease_of(r[2])
      local left = math.max(its - r[3], graced(its))
      if left <= 0 then
        lapsed[#lapsed + 1] = r[1]
        r.lapsed = true
      else
        spared = true
        if soonest < 0 or left < soonest then soonest = left end
      end
    end
    if r[3] == 0 and dated < 100 then -- the rest in the next round: a bite stays short
      local claim = young[r[2]] or { 'XCLAIM', stream, 'w', r[2], '0' }
      claim[#claim + 1], young[r[2]], dated = r[1], claim, dated + 1
    end
  end
  local r
  if not spared then
    r = call('XAUTOCLAIM', stream, 'w', me, ARGV[4], from, 'COUNT', count)
  else -- it would take those of longer leases, too: by their ids, and the cursor as it would be
    r = { #rows == count * 10 and rows[#rows][1] or '0-0', {} }
    if #lapsed > count then r[1] = lapsed[count + 1] end
    if #lapsed > 0 then r[2] = call('XCLAIM', stream, 'w', me, '0', unpack(lapsed, 1, math.min(#lapsed, count))) end
  end
  for _, claim in pairs(young) do -- after XAUTOCLAIM: it drops entries that are gone, and XAUTOCLAIM would look beyond `rows`
    claim[#claim + 1] = 'JUSTID'
    call(unpack(claim))
  end
  next_cursors[#next_cursors + 1] = tag
  next_cursors[#next_cursors + 1] = r[1]
  for _, x in ipairs(r[2]) do
    local id, was = x[1], seen[x[1]]
    if not was.lapsed then
      call('XCLAIM', stream, 'w', was[2], '0', id, 'IDLE', was[3], 'RETRYCOUNT', was[4], 'JUSTID')
    elseif x[2] and call('XACK', stream, 'w', id) == 1 then
      call('XDEL', stream, id)
      stalled(id, x[2][2] or '', was[2])
    end
  end
end
ring()
if oldest >= 0 and (soonest < 0 or lease - oldest < soonest) then soonest = lease - oldest end
return { next_cursors, moved, buried, 0, soonest }
