-- Sets a key if it holds what it is expected to hold, and tells whether it did (1 or 0).
--
-- KEYS: the key. ARGV: what it must hold; what it is to hold.

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call("SET", KEYS[1], ARGV[2])
return 1
