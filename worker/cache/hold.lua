-- Lets a key live for so long from now on if it holds what it is expected to hold.
--
-- KEYS: the key. ARGV: what it must hold; for how long, in ms (0: it goes at once).

if redis.call("GET", KEYS[1]) == ARGV[1] then
  return redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return 0
