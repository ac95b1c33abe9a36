-- after: money
-- A lease has ended: of every account of which it has a part it has what it spent there. An account of which it has
-- none was made after its end, and what it spent is in the base.
-- KEYS: head, leases, final, of, ended. ARGV: epoch, seen, lease, final (1 or 0), the accounts' common beginning, then of each
-- account where it spent anything: name, spent; server.

local FIRST_WORD = 5
local lease, final, beginning = ARGV[3], ARGV[4] == '1', ARGV[5]
if redis.call('SISMEMBER', KEYS[3], lease) == 1 then return head[3] end

local spent = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do spent[name] = '0' end
for word = FIRST_WORD + 1, #ARGV - 1, 2 do
  if spent[ARGV[word]] then spent[ARGV[word]] = ARGV[word + 1] end
end

for name, amount in pairs(spent) do
  local key = beginning .. name
  local base = redis.call('HGET', key, 'base')
  if base then
    redis.call('HDEL', key, 'l:' .. lease, 'p:' .. lease)
    if final then
      redis.call('HINCRBY', key, 'base', amount)
    elseif amount ~= '0' then
      redis.call('HSET', key, 'l:' .. lease, amount, 'p:' .. lease, amount)
    else
      redis.call('SREM', KEYS[4], name)
    end
  end
end
redis.call('ZREM', KEYS[2], lease)
if final then
  redis.call('UNLINK', KEYS[4])
  redis.call('SREM', KEYS[5], lease)
  redis.call('SADD', KEYS[3], lease)
else
  redis.call('SADD', KEYS[5], lease)
end
return changed()
