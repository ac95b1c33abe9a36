-- The log of purges: adds to it, and tells what came after a mark.
-- KEYS: head (a hash of id, seq), log (the latest, oldest first).
-- ARGV: the id of a log to begin where there is none, the id and the number that are known, kept at most, a purge to add
--       ("" = none), channel, server.
-- Returns: id, number, and the purges after the one that is known, all to who knows of no log, or 0 when they are not
-- known any more.

local id = redis.call('HGET', KEYS[1], 'id')
if not id then
  id = ARGV[1]
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[1], 'id', id, 'seq', 0)
end
if ARGV[5] ~= '' then
  redis.call('HINCRBY', KEYS[1], 'seq', 1)
  redis.call('RPUSH', KEYS[2], ARGV[5])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[4]), -1)
  redis.call('PUBLISH', ARGV[6], 'purged')
end
local number, kept = tonumber(redis.call('HGET', KEYS[1], 'seq')), redis.call('LLEN', KEYS[2])
local missing = ARGV[2] == '' and kept or number - tonumber(ARGV[3])
if ARGV[2] == '' then ARGV[2] = id end
if id ~= ARGV[2] or missing < 0 or missing > kept then return {id, number, 0} end
return {id, number, missing == 0 and {} or redis.call('LRANGE', KEYS[2], -missing, -1)}
