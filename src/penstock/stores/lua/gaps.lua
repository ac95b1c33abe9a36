-- Whether answers may be in the store behind that are not here: until when, in epoch seconds. A record is of one process, as
-- long as it evicted nothing and was never set back, and somebody says each minute that nodes live; else a new one begins,
-- and nothing is known until its first end is counted in the store.
-- KEYS: record. ARGV: the record and the number of the beat that were seen of it last, the end of an answer that was not
--       told here (0 = none), the record of which an end was counted ("" = none), that end, the name of a record to begin,
--       ms that a record lasts, server.
-- Returns: record, beat, ms since it began, whether its end is known.

local server = ARGV[#ARGV]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local evicted = string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')
local found = redis.call('HMGET', KEYS[1], 'id', 'server', 'evicted', 'beat')
if found[2] ~= server or found[3] ~= evicted or (found[1] == ARGV[1] and tonumber(found[4]) < tonumber(ARGV[2])) then
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'id', ARGV[6], 'server', server, 'evicted', evicted, 'began', now, 'gap', '0')
end
local record = redis.call('HMGET', KEYS[1], 'id', 'began', 'gap', 'until')
if tonumber(ARGV[3]) > tonumber(record[3]) then redis.call('HSET', KEYS[1], 'gap', ARGV[3]) end
if ARGV[4] == record[1] then redis.call('HSET', KEYS[1], 'until', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local beat = redis.call('HINCRBY', KEYS[1], 'beat', 1)
return {record[1], beat, now - record[2], (record[4] or ARGV[4] == record[1]) and 1 or 0}
