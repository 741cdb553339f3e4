-- Sets the values of rows just read, each only while its lease is still the reader's own.
--
-- KEYS: a row's key and its lease, in turns.
-- ARGV: the reader's lease; the values' time to live in seconds; then the value of each row, empty if the row is gone.
-- Answers with the numbers (from 1) of the rows whose lease was gone: a write or a flush came between, so they must be read
-- anew. A row with another reader's lease is left to that one: a write after its read will find its lease in turn. But what
-- is cached of it goes: should the other one die, nobody comes again for what this reader was to make true.

local leases = {}
for number = 1, #KEYS / 2 do
  leases[number] = KEYS[2 * number]
end
local holders = #leases > 0 and redis.call("MGET", (unpack or table.unpack)(leases)) or {}
local lost, own = {}, {}
for number, lease in ipairs(leases) do
  local key, holder = KEYS[2 * number - 1], holders[number]
  if not holder then
    lost[#lost + 1] = number
  elseif holder == ARGV[1] then
    local value = ARGV[2 + number]
    if value == "" then
      redis.call("DEL", key)
    else
      redis.call("SET", key, value, "EX", ARGV[2])
    end
    own[#own + 1] = lease
  else
    redis.call("DEL", key)
  end
end
if #own > 0 then
  redis.call("DEL", (unpack or table.unpack)(own))
end
return lost
