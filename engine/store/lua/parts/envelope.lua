-- envelope: "attempt;stalls;prio;id;klen;llen;" .. ordering key .. losses .. body
-- id is empty in a fresh entry, whose entry id is the job id. losses: one "lost_at_ms,worker;" a stall. body: msgpack of
-- the client's, never decoded here (cjson and Lua numbers would mangle it).
local function parse(v)
  local a, s, p, id, kl, ll, pos = string.match(v, '^(%d+);(%d+);(%d);([%d%-]*);(%d+);(%d+);()')
  kl, ll = tonumber(kl), tonumber(ll)
  return tonumber(a), tonumber(s), p, id, string.sub(v, pos, pos + kl - 1), string.sub(v, pos + kl, pos + kl + ll - 1),
    string.sub(v, pos + kl + ll)
end
local function pack(a, s, p, id, key, losses, body)
  return a .. ';' .. s .. ';' .. p .. ';' .. id .. ';' .. #key .. ';' .. #losses .. ';' .. key .. losses .. body
end
local function prio_of(v) return string.match(v, '^%d+;%d+;(%d)') end
