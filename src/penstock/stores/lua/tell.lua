-- A flight has ended: its answer is there before the flight is gone.
-- KEYS: answer, flight, stream. ARGV: flight, stored at (epoch seconds), mark, asked (ms), ms that the answer lasts
--       (0 = it is not stored), answer, end for those who follow, followed (1 or 0), ms that the stream lasts, the
--       beginning of nodes' channels, server.

if ARGV[5] ~= '0' then
  local asked = redis.call('HGET', KEYS[1], 'asked')
  if not asked or tonumber(asked) <= tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 'at', ARGV[2], 'mark', ARGV[3], 'asked', ARGV[4], 'body', ARGV[6])
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
end
local fields, nodes, ours = redis.call('HGETALL', KEYS[2]), {}, false
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'n:' then nodes[#nodes + 1] = string.sub(fields[i], 3) end
  if fields[i] == 'id' and fields[i + 1] == ARGV[1] then ours = true end
end
if ours then redis.call('UNLINK', KEYS[2]) else nodes = {} end
if #nodes > 0 or ARGV[8] == '1' then
  redis.call('XADD', KEYS[3], '*', 'end', ARGV[7], 'answer', ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[9])
  for _, node in ipairs(nodes) do redis.call('PUBLISH', ARGV[10] .. node, 'more ' .. ARGV[1]) end
end
return #nodes
