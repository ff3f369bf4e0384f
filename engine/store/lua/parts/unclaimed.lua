-- unclaimed: what nobody has claimed yet of a ready stream.
local function unclaimed(tag) -- how many entries, and the id behind which they stand; all of them when the group is gone
  local stream, pending, last = P .. 'ready:' .. tag, 0, '0-0'
  local groups = try('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups.err and {} or groups) do
    for x = 1, #group, 2 do
      if group[x] == 'pending' then pending = group[x + 1] end
      if group[x] == 'last-delivered-id' then last = group[x + 1] end
    end
  end
  return call('XLEN', stream) - pending, last
end
