-- Takes back parts of a key's rates: of a minute the latest first. Less than nothing was used beyond what was lent.
-- KEYS: as rates.lua's. ARGV: node, then of each: 'concurrency' or anything else, amount; server.

local KEPT_MS = 180000
local second = redis.call('TIME')[1]

local function back_to_minute(key, amount)
  if amount < 0 then
    redis.call('HINCRBY', key, second, -amount)
    redis.call('PEXPIRE', key, KEPT_MS)
    return
  end
  if amount == 0 then return end
  local seconds = redis.call('HKEYS', key)
  table.sort(seconds, function(a, b) return tonumber(a) > tonumber(b) end)
  for _, each in ipairs(seconds) do
    local given = math.min(amount, tonumber(redis.call('HGET', key, each)))
    if redis.call('HINCRBY', key, each, -given) == 0 then redis.call('HDEL', key, each) end
    amount = amount - given
    if amount <= 0 then break end
  end
end

for i = 1, #KEYS do
  local amount = tonumber(ARGV[2 * i + 1])
  if ARGV[2 * i] ~= 'concurrency' then
    back_to_minute(KEYS[i], amount)
  else
    local had, until_ms = string.match(redis.call('HGET', KEYS[i], ARGV[1]) or '0 0', '(%d+) (%d+)')
    redis.call('HSET', KEYS[i], ARGV[1], string.format('%d %s', math.max(0, had - amount), until_ms))
  end
end
return 1
