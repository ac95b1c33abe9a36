-- The answer, or the flight to follow, or the right to lead one.
-- KEYS: answer, flight, and where there is one the record of gaps.lua. ARGV: stored after (epoch seconds), look (1 or 0), mark of an answer that was purged ("" = none),
--       a flight whose leader is dead ("" = none), the id of a flight to lead, node, generation, ms it may last, the
--       beginning of nodes' channels, follower, server.
-- Returns: 'answer', its mark, the answer | 'follow', flight, node, generation | 'lead', ms at which it was asked, until when
--       the store behind may have an answer that is not here (epoch seconds, '' = nobody knows).

local node = ARGV[6]
if ARGV[2] == '1' then
  local found = redis.call('HMGET', KEYS[1], 'at', 'mark', 'body')
  if found[3] and found[2] == ARGV[3] then
    redis.call('UNLINK', KEYS[1])
  elseif found[3] and tonumber(found[1]) >= tonumber(ARGV[1]) then
    return {'answer', found[2], found[3]}
  end
  local flight = redis.call('HMGET', KEYS[2], 'id', 'node', 'generation')
  if flight[1] and flight[1] ~= ARGV[4] then
    redis.call('HSET', KEYS[2], 'n:' .. node, 1)
    redis.call('PUBLISH', ARGV[9] .. flight[2], 'follow ' .. flight[1] .. ' ' .. node .. ' ' .. ARGV[10])
    return {'follow', flight[1], flight[2], flight[3]}
  end
end
redis.call('UNLINK', KEYS[2])
redis.call('HSET', KEYS[2], 'id', ARGV[5], 'node', node, 'generation', ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[8])
local behind = ''
if KEYS[3] and ARGV[3] == '' and ARGV[4] == '' then
  local gaps = redis.call('HMGET', KEYS[3], 'server', 'until', 'gap')
  if gaps[1] == ARGV[#ARGV] and gaps[2] then
    behind = tonumber(gaps[2]) < tonumber(gaps[3]) and gaps[3] or gaps[2]
  end
end
local time = redis.call('TIME')
return {'lead', time[1] * 1000 + math.floor(time[2] / 1000), behind}
