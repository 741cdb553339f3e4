-- Takes over the entities whose lists are to be purged now: the dirty ones, those due for their second purge, and, if this
-- purge has died before, those it had taken then.
--
-- KEYS: dirty entities (set); who has queued a purge; second purges (sorted set: entity, when); who has queued a second
-- purge (hash); this purge's own entities (hash: entity, 1 if a second purge is to follow).
-- ARGV: how long to keep the last, in ms.
-- Answers with the entities.

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
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
redis.call("PEXPIRE", KEYS[5], ARGV[1])
return redis.call("HKEYS", KEYS[5])
