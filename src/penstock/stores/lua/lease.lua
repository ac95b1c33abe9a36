-- after: money
-- A lease has ended: of every account of which it has a part it has what it spent there. An account of which it has
-- none was made after its end, and what it spent is in the base. Some accounts at a time: each is done once, whoever
-- says it, for what is final is taken from `of`.
-- KEYS: head, leases, final, of, ended. ARGV: epoch, seen, lease, final (1 or 0), the accounts' common beginning, then of
-- some accounts: name, spent; none = it begins, and if it is final and nothing is left, it is done; server.

local FIRST_WORD = 5
local lease, final, beginning = ARGV[3], ARGV[4] == '1', ARGV[5]
if redis.call('SISMEMBER', KEYS[3], lease) == 1 then return head[3] end

for word = FIRST_WORD + 1, #ARGV - 1, 2 do
  local name, amount = ARGV[word], ARGV[word + 1]
  local key = beginning .. name
  if redis.call('SISMEMBER', KEYS[4], name) == 1 then
    if redis.call('HEXISTS', key, 'base') == 1 then
      redis.call('HDEL', key, 'l:' .. lease, 'p:' .. lease)
      if final then
        redis.call('HINCRBY', key, 'base', amount)
      elseif amount ~= '0' then
        redis.call('HSET', key, 'l:' .. lease, amount, 'p:' .. lease, amount)
      end
    end
    if final or amount == '0' then redis.call('SREM', KEYS[4], name) end
  end
end
redis.call('ZREM', KEYS[2], lease)
if final and redis.call('SCARD', KEYS[4]) == 0 then
  redis.call('SREM', KEYS[5], lease)
  redis.call('SADD', KEYS[3], lease)
else
  redis.call('SADD', KEYS[5], lease)
end
return changed()
