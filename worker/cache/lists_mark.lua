-- Notes entities whose lists are stale, and tells whether the caller is to send the message that purges them.
--
-- KEYS: dirty entities (set); who has queued a purge; how the last purge went (hash).
-- ARGV: the caller's name; how long its word is taken for the message, in ms; the shortest pause between purges in ms, and
-- as a multiple of the last one's duration; the entities.
-- Answers in how many ms the purge should run, or -1 if another caller has queued one that has not begun.

for number = 5, #ARGV do
  redis.call("SADD", KEYS[1], ARGV[number])
end
local queued_by = redis.call("GET", KEYS[2])
if queued_by and queued_by ~= ARGV[1] then
  return -1
end
redis.call("SET", KEYS[2], ARGV[1], "PX", ARGV[2])
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local last = redis.call("HMGET", KEYS[3], "ended_at", "took")
if not last[1] then
  return 0
end
local pause = math.max(tonumber(ARGV[3]), tonumber(ARGV[4]) * tonumber(last[2]))
return math.max(0, math.min(pause, tonumber(last[1]) + pause - now))
