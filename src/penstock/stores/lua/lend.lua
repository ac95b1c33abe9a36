-- after: money
-- Lends of all these accounts or of none.
-- KEYS: head, leases, short, accounts (of the epoch, by when they are forgotten), of (those of the lease), account...
-- ARGV: epoch, seen, lease, spread, then of each account: name, limit, want, least; server.
-- Returns: changes, then of each account: known, lent, part, taken, spent.

local FIRST_KEY, FIRST_WORD = 5, 4
local lease, part = ARGV[3], 'l:' .. ARGV[3]
if not redis.call('ZSCORE', KEYS[2], lease) then
  return {err = 'LEASEENDED'}
end
local shares = tonumber(ARGV[4]) * redis.call('ZCARD', KEYS[2])
local found, fits, refused = {}, true, {}

for i = 1, #KEYS - FIRST_KEY do
  local word = FIRST_WORD + 4 * (i - 1)
  local name, limit, want, needed = ARGV[word + 1], read(ARGV[word + 2]), read(ARGV[word + 3]), read(ARGV[word + 4])
  local account = sums(KEYS[FIRST_KEY + i])
  if not account then
    if redis.call('ZSCORE', KEYS[4], name) then  -- it was set, and somebody took it away
      return {err = 'EPOCHLOST ' .. ARGV[1]}
    end
    fits = false
  else
    local left = most(limit, account.taken) - account.taken
    account.name, account.lent = name, most(needed, least(want, divided(left, shares)))
    if left < needed then
      fits = false
      refused[#refused + 1] = name
    end
  end
  found[i] = account or {}
end

local any = #refused > 0
for _, name in ipairs(refused) do
  redis.call('ZADD', KEYS[3], milliseconds(), name)
end
for i, account in ipairs(found) do
  if account.taken and fits and ZERO < account.lent then
    redis.call('HINCRBY', KEYS[FIRST_KEY + i], part, written(account.lent))
    redis.call('SADD', KEYS[5], account.name)
    account.taken, any = account.taken + account.lent, true
  else
    account.lent = ZERO
  end
end

local told = {any and changed() or head[3]}
for i, account in ipairs(found) do
  if account.taken then
    told[#told + 1] = {
      1, written(account.lent), redis.call('HGET', KEYS[FIRST_KEY + i], part) or '0', written(account.taken),
      written(account.spent)
    }
  else
    told[#told + 1] = {0, '0', '0', '0', '0'}
  end
end
return told
