-- after: money
-- A new lease. KEYS: head, leases (sorted by when they were renewed), final. ARGV: epoch, seen, lease, server.

if redis.call('SISMEMBER', KEYS[3], ARGV[3]) == 1 then
  return {err = 'LEASEENDED'}
end
redis.call('ZADD', KEYS[2], milliseconds(), ARGV[3])
return changed()
