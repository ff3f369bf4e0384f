#!lua flags=no-writes,allow-oom
-- recall: what an earlier attempt kept, for the attempt that holds the lease now. Asked before a step's effect, so that a worker
-- that was frozen past its lease does not repeat what its successor has done.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms (both unused)
-- ARGV[3]  worker    ARGV[4]  tag    ARGV[5]  entry    ARGV[6]  job id    ARGV[7]  field    ARGV[8]  most steps
-- Returns  {1, value or false} | {0} lease lost: do nothing more | {-1} a step more than may be kept: don't begin it
-- Used by  RedisStore.recall
--@use base
local p = try('XPENDING', P .. 'ready:' .. ARGV[4], 'w', ARGV[5], ARGV[5], 1)
if p.err or not p[1] or p[1][2] ~= ARGV[3] then return { 0 } end
local kept = call('HMGET', P .. 'notes:' .. ARGV[6], ARGV[7], 'steps')
if not kept[1] and (whole(kept[2]) or 0) >= tonumber(ARGV[8]) then return { -1 } end
return { 1, kept[1] }
