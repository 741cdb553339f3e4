-- Notes that a purge is done, and tells whether the caller is to send the message for second purges.
--
-- KEYS: second purges (sorted set: entity, when); who has queued a second purge (hash); this purge's own entities (hash);
-- how the last purge went (hash); who is walking through the keys.
-- ARGV: the caller's name; how long after the first the second purge comes, in ms; how long this one took, in ms; how long
-- the caller's word is taken for the message, in ms; by whom the message of this purge was promised, if it was.
-- Answers in how many ms a second purge should run, or -1 if none is due or another caller has queued it.

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local taken = redis.call("HGETALL", KEYS[3])
for number = 1, #taken, 2 do
  if taken[number + 1] == "1" then
    redis.call("ZADD", KEYS[1], now + ARGV[2], taken[number])
  end
end
redis.call("DEL", KEYS[3])
if redis.call("GET", KEYS[5]) == ARGV[1] then
  redis.call("DEL", KEYS[5])
end
if #taken > 0 then
  redis.call("HSET", KEYS[4], "ended_at", now, "took", ARGV[3])
end
local first = redis.call("ZRANGE", KEYS[1], 0, 0, "WITHSCORES")
if #first == 0 then
  return -1
end
local queued_by = redis.call("HGET", KEYS[2], "by")
-- A message that was promised and has come too early (clocks of hosts differ) is not on its way any more: another is to come.
if queued_by and queued_by ~= ARGV[1] and queued_by ~= ARGV[5] then
  return -1
end
redis.call("HSET", KEYS[2], "by", ARGV[1], "at", first[2])
redis.call("PEXPIRE", KEYS[2], ARGV[4])
return math.max(0, tonumber(first[2]) - now)
