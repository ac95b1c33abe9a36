-- More of a flight's stream. KEYS: stream. ARGV: flight, batch, ms that the stream lasts, the beginning of nodes' channels,
-- how many nodes follow, nodes..., server.

redis.call('XADD', KEYS[1], '*', 'batch', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for i = 1, tonumber(ARGV[5]) do redis.call('PUBLISH', ARGV[4] .. ARGV[5 + i], 'more ' .. ARGV[1]) end
return 1
