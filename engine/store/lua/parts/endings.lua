-- endings: what happens around a job when it leaves for good or is buried.
local function bury(id, env, info, print, why) -- into the dead-letter queue; the caller hands its key over
  local entry = append('dead', 'j', env, 'i', info, 'f', print, 'w', why, 'id', id) -- an undecodable envelope has no id inside
  call('HSET', P .. 'where', id, 'd:' .. entry)
  add('died', 1)
  tell('died', id, why)
end
local function record_cancelled(id, env, why)
  try('XADD', P .. 'done', '*', 'x', id, 'w', why, 'at', fmt(T), 'j', env)
  add('done_kept', 1)
  add('cancelled', 1)
  tell('cancelled', id, why)
end
local function let_notes_go(id, ttl) -- notes of an ended job stay for a while; the sweeper drops them
  if call('ZADD', P .. 'noted', 'XX', 'CH', fmt(T + ttl), id) == 1 then try('HSET', P .. 'notes:' .. id, 'ended', fmt(T)) end
end
local function announce(id, outcome) -- somebody may wait for this ending (handle.result)
  if call('HDEL', P .. 'flags', 'w' .. id) == 1 then
    try('XADD', P .. 'settled', 'MAXLEN', '~', '1000', '*', 'id', id, 'o', outcome)
  end
end
