-- Lends parts of a key's rates, all of them or none.
-- KEYS: of each want: a hash of seconds and what was lent in them, or, of the concurrency, of nodes and what each has.
-- ARGV: node, ms that a node keeps its part of the concurrency, seconds that a part of a minute counts, then of each want:
--       'concurrency' or anything else, limit, want, least; server.
-- Returns: of each want: lent, ms until its least may fit.

local FIRST_WORD, KEPT_MS, SPREAD = 3, 180000, 2
local node, counted = ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local second, now = tonumber(time[1]), time[1] * 1000 + math.floor(time[2] / 1000)

local function part_of(field)
  local amount, until_ms = string.match(field or '0 0', '(%d+) (%d+)')
  return tonumber(until_ms) > now and tonumber(amount) or 0
end

-- What is lent now, and of a minute when it comes free again, as {second, amount}, oldest first.
local function lent(key, is_minute)
  local fields, total, taken = redis.call('HGETALL', key), 0, {}
  for i = 1, #fields, 2 do
    if not is_minute then
      total = total + part_of(fields[i + 1])
    elseif tonumber(fields[i]) + counted <= second then
      redis.call('HDEL', key, fields[i])
    else
      taken[#taken + 1] = {tonumber(fields[i]), tonumber(fields[i + 1])}
      total = total + fields[i + 1]
    end
  end
  table.sort(taken, function(a, b) return a[1] < b[1] end)
  return total, taken
end

local function wait(taken, missing)
  for _, each in ipairs(taken) do
    missing = missing - each[2]
    if missing <= 0 then return (each[1] + counted) * 1000 - now end
  end
  return 1000
end

local parts, fits = {}, true
for i = 1, #KEYS do
  local word = FIRST_WORD + 4 * (i - 1)
  local limit, is_minute = tonumber(ARGV[word + 2]), ARGV[word + 1] ~= 'concurrency'
  local total, taken = lent(KEYS[i], is_minute)
  local least, left = math.min(tonumber(ARGV[word + 4]), limit), math.max(0, limit - total)
  local part = {math.max(least, math.min(tonumber(ARGV[word + 3]), math.floor(left / SPREAD))), 0}
  if left < least then
    part, fits = {0, wait(taken, least - left)}, false
  end
  parts[i] = part
end

for i = 1, #KEYS do
  if not fits then
    parts[i][1] = 0
  elseif ARGV[FIRST_WORD + 4 * (i - 1) + 1] == 'concurrency' then
    local had = part_of(redis.call('HGET', KEYS[i], node))
    redis.call('HSET', KEYS[i], node, string.format('%d %d', had + parts[i][1], now + tonumber(ARGV[2])))
    redis.call('PEXPIRE', KEYS[i], KEPT_MS)
  elseif parts[i][1] > 0 then
    redis.call('HINCRBY', KEYS[i], second, parts[i][1])
    redis.call('PEXPIRE', KEYS[i], KEPT_MS)
  end
end
return parts
