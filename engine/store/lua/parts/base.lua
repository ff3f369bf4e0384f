-- base: the names every script uses.
-- Every script has KEYS[1] = the queue's prefix `engine:{queue}:`, ARGV[1] = gap (20 random bits, see ids) and
-- ARGV[2] = now_ms (0: ask TIME; tests choose). Other keys are the prefix and a suffix of keys.py, all in one slot.
local P = KEYS[1]
local call, try = redis.call, redis.pcall
-- the sequence of a new millisecond's ids begins at FIRST, and a call that finds it above LAST goes on in the next millisecond: ids of
-- equal length sort as text as they do as numbers, and text is how a sorted set orders those that are due at one instant. Above LAST is
-- room for the gap and the most jobs that a command of 2^20 arguments holds. A millisecond has ids for 84 calls at least, 168 on average,
-- more than a server answers in one: while its clock is behind that of the ids (it was set back), theirs is the slower, and is caught up
local FIRST, LAST = 10000000, 98000000
local function fmt(n) return string.format('%.0f', n) end
local function whole(v) -- the number that a field holds, as scripts write it; nil when it holds none, or what somebody else put there
  return v and #v < 15 and tonumber(string.match(v, '^%d+$')) or nil
end
local T, UP = tonumber(ARGV[2]), 0 -- now in ms, and 1 when it is a part of a millisecond later than that
if T == 0 then
  local t = call('TIME') -- read once: it moves within a script on Redis 7.0
  T = t[1] * 1000 + math.floor(t[2] / 1000)
  UP = t[2] % 1000 > 0 and 1 or 0 -- a delay, a pause and a gate count from T + UP: never early
end
