-- Puts a reader's lease on each row, instead of whatever lease is there.
--
-- KEYS: the rows' leases. ARGV: the reader's lease; its time to live in seconds.

for _, lease in ipairs(KEYS) do
  redis.call("SET", lease, ARGV[1], "EX", ARGV[2])
end
return #KEYS
