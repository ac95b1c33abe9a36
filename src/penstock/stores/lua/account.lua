-- after: money
-- Makes an account; the first one counts.
-- KEYS: head, leases, accounts, account, and `of` of each lease that is named.
-- ARGV: epoch, seen, name, base, in how many ms it is forgotten (-1 = never), then of each lease: lease, spent; server.
-- Returns: changes, and 1, or 0 when one of these leases has ended.

local FIRST_KEY, FIRST_WORD = 4, 5
if redis.call('HEXISTS', KEYS[4], 'base') == 1 then
  return {head[3], 1}
end
if redis.call('ZSCORE', KEYS[3], ARGV[3]) then  -- it was set, and somebody took it away
  return {err = 'EPOCHLOST ' .. ARGV[1]}
end
for i = 1, #KEYS - FIRST_KEY do
  if not redis.call('ZSCORE', KEYS[2], ARGV[FIRST_WORD + 2 * i - 1]) then return {head[3], 0} end
end

redis.call('HSET', KEYS[4], 'base', ARGV[4])
for i = 1, #KEYS - FIRST_KEY do
  local lease, spent = ARGV[FIRST_WORD + 2 * i - 1], ARGV[FIRST_WORD + 2 * i]
  redis.call('HSET', KEYS[4], 'l:' .. lease, spent, 'p:' .. lease, spent)
  redis.call('SADD', KEYS[FIRST_KEY + i], ARGV[3])
end
redis.call('ZADD', KEYS[3], ARGV[5] == '-1' and '+inf' or milliseconds() + tonumber(ARGV[5]), ARGV[3])
return {changed(), 1}
