#!lua flags=no-writes,allow-oom
-- rights: which of these commands our own user may not call. Nothing is called.
-- KEYS[1]  prefix    keys.prefix(queue)
-- ARGV[1]  gap       ARGV[2]  now_ms    then commands with their arguments, parted by spaces; `@` before a word: with the prefix
-- Returns  the first words of those that are refused
-- Used by  RedisStore.refused
--@use base
local refused = {}
for i = 3, #ARGV do
  local words = {}
  for word in ARGV[i]:gmatch('%S+') do words[#words + 1] = string.gsub(word, '^@', P) end
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
  if known and not allowed then refused[#refused + 1] = ARGV[i] end
end
return refused
