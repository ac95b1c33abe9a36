-- A new epoch: what was lent in earlier ones is forgotten, behind, by beat.lua. Only forward.
-- KEYS: head, old (a list of epochs). ARGV: epoch, the server it is meant for, the server that runs this.

local found = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if ARGV[2] ~= ARGV[3] or (found[1] and tonumber(found[1]) > tonumber(ARGV[1]))
    or (found[1] == ARGV[1] and found[2] ~= ARGV[2]) then
  return {err = 'EPOCHLOST ' .. (found[1] or '')}
end
if found[1] ~= ARGV[1] then
  if found[1] then redis.call('RPUSH', KEYS[2], found[1]) end
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'server', ARGV[2], 'changes', 0)
end
return redis.call('HGET', KEYS[1], 'changes')
