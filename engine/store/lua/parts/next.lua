-- next: when the next job is due, 0 when none is.
local function next_due()
  local a = call('ZRANGE', P .. 'scheduled', 0, 0, 'WITHSCORES')[2]
  local b = call('ZRANGE', P .. 'retrying', 0, 0, 'WITHSCORES')[2]
  a, b = tonumber(a or 0), tonumber(b or 0)
  if a == 0 or (b > 0 and b < a) then a = b end
  return a < 1e14 and a or 0 -- later is never: somebody else's, and as an integer it may be any
end
