#!lua
-- requeue: dead jobs get a fresh set of attempts and join the end of the line (of their key too).
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    then job ids (25 a call keep it under 2 ms)
-- Returns  how many of them were dead and are back
-- Errors   OOM at maxmemory before any write (no allow-oom flag, as for enqueue)
-- Atomic   all of them; a second call finds none dead
-- Used by  RedisStore.requeue
--@use base ids envelope line place
local back = 0
sound()
for i = 3, #ARGV do
  local id = ARGV[i]
  local row = call('HGET', P .. 'where', id)
  local entry = row and string.match(row, '^d:(.+)$')
  local x = entry and call('XRANGE', P .. 'dead', entry, entry)[1]
  local ok, a, _, prio, _, key, _, body = pcall(parse, x and x[2][2] or '')
  if ok and a then -- an undecodable entry stays dead: there is nothing to run
    call('XDEL', P .. 'dead', entry)
    admit(id, key, prio, pack(1, 0, prio, id, key, '', body))
    add('requeued', 1)
    tell('requeued', id)
    back = back + 1
  end
end
ring()
return back
