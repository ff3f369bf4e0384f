-- due: moving a waiting-for-its-time job to where it can run.
local function make_runnable(id, place) -- place s, z or t (row of `where`); the caller has checked that it is there
  call('ZREM', P .. (place == 't' and 'retrying' or 'scheduled'), id)
  local env = call('HGET', P .. 'jobs', id)
  call('HDEL', P .. 'jobs', id)
  local readable, _, _, prio, _, key = pcall(parse, env)
  if not readable then -- somebody damaged it: it must not hold up those that are due after it
    call('HDEL', P .. 'where', id)
    if env then return bury(id, env, '', 'undecodable', 'undecodable') end
    add('removed', 1)
    return tell('removed', id, 'its data was gone')
  end
  if place == 's' then return admit(id, key, prio, env) end -- delayed: joins its key's line only now
  put(prio, id, env) -- retrying or snoozed: kept its key
end
