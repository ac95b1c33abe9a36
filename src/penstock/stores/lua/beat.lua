-- after: money
-- Takes back what a lease gives, books what it spent, and, if it is renewed: who is silent, and where somebody is short.
-- KEYS: head, leases, short, accounts, of, ended, old, account...
-- ARGV: epoch, seen, lease, renew (1 or 0), silence in ms, the keys' common beginning, then of each account:
--       back, spent; server.
-- Returns: changes, parts, names that are short, silent leases, and those that have ended and are not final.

local FIRST_KEY, FIRST_WORD, PRUNED, KEPT_MS = 7, 6, 100, 60000
local lease, silence, beginning = ARGV[3], tonumber(ARGV[5]), ARGV[6]
local before = redis.call('ZSCORE', KEYS[2], lease)
if not before then
  return {err = 'LEASEENDED'}
end

local parts, accounts = {}, beginning .. ARGV[1] .. ':a:'
for i = 1, #KEYS - FIRST_KEY do
  local key, word = KEYS[FIRST_KEY + i], FIRST_WORD + 2 * (i - 1)
  local had = redis.call('HMGET', key, 'base', 'l:' .. lease, 'p:' .. lease)
  if had[1] then
    local lent, spent = read(had[2]), most(read(had[3]), read(ARGV[word + 2]))
    lent = most(lent - read(ARGV[word + 1]), spent)
    redis.call('HSET', key, 'l:' .. lease, written(lent), 'p:' .. lease, written(spent))
    if had[2] == false and ZERO < lent then redis.call('SADD', KEYS[5], string.sub(key, #accounts + 1)) end
    parts[i] = written(lent)
  else
    parts[i] = '0'
  end
end
if ARGV[4] == '0' then
  return {changed(), parts, {}, {}, {}}
end

local now = milliseconds()
redis.call('ZADD', KEYS[2], now, lease)

-- What is over goes, some at a time.
local function forget(epoch, accounts, names)
  for _, name in ipairs(names) do
    redis.call('UNLINK', beginning .. epoch .. ':a:' .. name)
    redis.call('ZREM', accounts, name)
    for _, each in ipairs(redis.call('ZRANGE', beginning .. epoch .. ':leases', 0, -1)) do
      redis.call('SREM', beginning .. epoch .. ':of:' .. each, name)
    end
  end
end
forget(ARGV[1], KEYS[4], redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, PRUNED))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - KEPT_MS)

local old = redis.call('LINDEX', KEYS[7], 0)
if old then
  local accounts = beginning .. old .. ':accounts'
  local names = redis.call('ZRANGE', accounts, 0, PRUNED - 1)
  if #names == 0 then
    for _, each in ipairs(redis.call('ZRANGE', beginning .. old .. ':leases', 0, -1)) do
      redis.call('UNLINK', beginning .. old .. ':of:' .. each)
    end
    redis.call('UNLINK', accounts, beginning .. old .. ':leases', beginning .. old .. ':short')
    redis.call('UNLINK', beginning .. old .. ':ended', beginning .. old .. ':final')
    redis.call('LPOP', KEYS[7])
  end
  forget(old, accounts, names)
end

local short = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], before, '+inf')) do
  if redis.call('SISMEMBER', KEYS[5], name) == 1 then short[#short + 1] = name end
end
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. (now - silence))
return {changed(), parts, short, silent, redis.call('SMEMBERS', KEYS[6])}
