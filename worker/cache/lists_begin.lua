-- Takes over the entities whose lists are to be purged now: the dirty ones, those due for their second purge, and, if this
-- purge has died before, those it had taken then. Unless another purge is at it, or the last one has kept the server busy
-- only just now: then this one has undertaken to have another called later.
--
-- KEYS: dirty entities (set); who has queued a purge; second purges (sorted set: entity, when); who has queued a second
-- purge (hash); this purge's own entities (hash: entity, 1 if a second purge is to follow); who is walking through the keys;
-- how the last purge went (hash).
-- ARGV: the caller's name; how long to keep its own entities, how long it counts as walking, how long its word is taken for
-- a message, in ms; when to come again while another walks, in ms; the pause after a purge as a multiple of its duration.
-- Answers with the entities, or in how many ms to come again.

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local walker = redis.call("GET", KEYS[6])
local last = redis.call("HMGET", KEYS[7], "ended_at", "took")
local again = 0
if walker and walker ~= ARGV[1] then
  again = tonumber(ARGV[5])
elseif not walker and last[1] then
  again = tonumber(last[1]) + math.min(tonumber(ARGV[6]) * tonumber(last[2]), tonumber(ARGV[4])) - now
end
if again > 0 then
  for _, entity in ipairs(redis.call("HKEYS", KEYS[5])) do
    redis.call("SADD", KEYS[1], entity)
  end
  redis.call("DEL", KEYS[5])
  redis.call("SET", KEYS[2], ARGV[1], "PX", ARGV[4])
  return again
end
redis.call("SET", KEYS[6], ARGV[1], "PX", ARGV[3])
redis.call("DEL", KEYS[2])
local queued_for = redis.call("HGET", KEYS[4], "at")
if queued_for and tonumber(queued_for) <= now then
  redis.call("DEL", KEYS[4])
end
for _, entity in ipairs(redis.call("ZRANGEBYSCORE", KEYS[3], "-inf", now)) do
  redis.call("ZREM", KEYS[3], entity)
  redis.call("HSETNX", KEYS[5], entity, 0)
end
for _, entity in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  redis.call("HSET", KEYS[5], entity, 1)
end
redis.call("DEL", KEYS[1])
redis.call("PEXPIRE", KEYS[5], ARGV[2])
return redis.call("HKEYS", KEYS[5])
