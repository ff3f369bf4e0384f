-- place: putting jobs where workers find them, and the order of keys.
-- where rows: s scheduled (no key yet), z snoozed (key held), t retrying (key held), d:<entry> dead,
-- <tag>:<entry> re-added to ready:<tag>, b:<entry> blocked later than at enqueue. No row: a fresh entry, in ready:<n> or `blocked`.
local function sound() -- called before the first write: a wrong type met later would leave half of it, there is no rollback
  for _, zset in ipairs({ 'scheduled', 'retrying', 'noted' }) do call('ZCARD', P .. zset) end
  for _, hash in ipairs({ 'jobs', 'where', 'keys', 'flags' }) do call('HLEN', P .. hash) end
  for _, stream in ipairs({ 'dead', 'blocked' }) do call('XLEN', P .. stream) end
end
local where_rows = {}
local deltas = {}
local rang = false -- something became runnable: an idle worker is to hear it
local must_ring = false -- every worker is to hear it: an earlier due time, the end of a pause
local function add(field, n) deltas[field] = (deltas[field] or 0) + n end
local function write_rows()
  if #where_rows > 0 then
    call('HSET', P .. 'where', unpack(where_rows))
    where_rows = {}
  end
end
local function flush() -- what the helpers below saved up; every script that uses them ends with ring()
  write_rows()
  write_lines()
  for field, n in pairs(deltas) do -- what is no number begins again: the rest of the change is written
    if type(try('HINCRBY', P .. 'meta', field, fmt(n))) == 'table' then call('HSET', P .. 'meta', field, fmt(n)) end
  end
  deltas = {}
end
local function ring()
  flush()
  -- `rung`: the bell has been rung and no worker has come back without work since (see step), so all who could are awake
  if not must_ring and not (rang and call('HGET', P .. 'meta', 'rung') ~= '1') then return end
  try('XADD', P .. 'bell', 'MAXLEN', '1', next_id(), 't', fmt(T))
  call('HSET', P .. 'meta', 'rung', '1')
end
local function tell(kind, id, detail) -- what happened, for other processes; never fails the script
  try('XADD', P .. 'events', 'MAXLEN', '~', '10000', '*', 'k', kind, 'id', id, 'at', fmt(T), 'd', detail or '')
end
local function put(tag, id, env, since) -- re-add: a new entry id, which is the fence; the job id travels inside
  ensure(tag)
  if not ids_ms then reserve(16) end
  if ids_ms > T then -- the clock was set back: neither is an id ahead of it an instant, nor what such an id told
    since = fmt(math.min(whole(since) or T, T))
  end
  local entry
  if since then -- given back, or dated ahead: since when it could run, which its new id does not tell
    entry = append('ready:' .. tag, 'j', env, 's', since)
  else
    entry = append('ready:' .. tag, 'j', env)
  end
  where_rows[#where_rows + 1] = id
  where_rows[#where_rows + 1] = tag .. ':' .. entry
  if #where_rows >= 200 then write_rows() end
  rang = true
  return entry
end
local function handovers(keys) -- the holders of these keys have left for good: next in line each, or the key is free
  read_lines(keys)
  local entries, ids, prios, envs, n = {}, {}, {}, {}, 0
  for _, key in ipairs(keys) do
    local entry, id, prio, env = next_of(key)
    if entry then
      n = n + 1
      entries[n], ids[n], prios[n], envs[n] = entry, id, prio, env
    end
  end
  write_lines()
  if n == 0 then return end
  call('XDEL', P .. 'blocked', unpack(entries))
  reserve(n + 2)
  for i = 1, n do put(prios[i], ids[i], envs[i]) end
end
local function hand_over(key)
  if key ~= '' then handovers({ key }) end
end
local function admit(id, key, prio, env) -- runnable, key not held yet: take it, or wait behind it. True when it is ready
  if key ~= '' then
    if is_held(key) then
      local entry = append('blocked', 'j', env)
      join(key, short(entry))
      where_rows[#where_rows + 1] = id
      where_rows[#where_rows + 1] = 'b:' .. entry
      return false
    end
    join(key, short(id))
  end
  put(prio, id, env)
  return true
end
