-- What every script about money begins with: the epoch's guard, and amounts that are exact beyond 2^53.
-- KEYS[1] the head: a hash of epoch, server, changes.
-- ARGV[1] the epoch, ARGV[2] the changes that were seen of it, the last ARGV the server that runs this.

local head = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'changes')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[#ARGV] or tonumber(head[3] or 0) < tonumber(ARGV[2]) then
  return {err = 'EPOCHLOST ' .. (head[1] or '')}
end

local BILLION = 1000000000
local Amount = {}

local function amount(billions, rest)
  local carry = math.floor(rest / BILLION)
  return setmetatable({billions + carry, rest - carry * BILLION}, Amount)
end

Amount.__add = function(a, b) return amount(a[1] + b[1], a[2] + b[2]) end
Amount.__sub = function(a, b) return amount(a[1] - b[1], a[2] - b[2]) end
Amount.__lt = function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
Amount.__le = function(a, b) return not (b < a) end
Amount.__eq = function(a, b) return a[1] == b[1] and a[2] == b[2] end

local ZERO = amount(0, 0)

-- Of decimal digits; nothing is zero.
local function read(digits)
  if not digits then return ZERO end
  return amount(tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9)))
end

-- As decimal digits; never of less than zero.
local function written(a)
  if a[1] == 0 then return string.format('%d', a[2]) end
  return string.format('%d%09d', a[1], a[2])
end

-- Rounded down.
local function divided(a, number)
  local billions = math.floor(a[1] / number)
  return amount(billions, math.floor(((a[1] - billions * number) * BILLION + a[2]) / number))
end

local function least(a, b) return a < b and a or b end
local function most(a, b) return a < b and b or a end

-- What an account holds: base, and all parts in all; nil = there is none.
local function sums(key)
  local fields = redis.call('HGETALL', key)
  local base, lent, spent = nil, ZERO, ZERO
  for i = 1, #fields, 2 do
    local kind = string.sub(fields[i], 1, 2)
    if kind == 'l:' then
      lent = lent + read(fields[i + 1])
    elseif kind == 'p:' then
      spent = spent + read(fields[i + 1])
    elseif fields[i] == 'base' then
      base = read(fields[i + 1])
    end
  end
  if base then return {taken = base + lent, spent = base + spent} end
end

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function changed()
  return redis.call('HINCRBY', KEYS[1], 'changes', 1)
end
