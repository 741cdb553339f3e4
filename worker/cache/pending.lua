-- Removes the notes of pending operations, each only if it names the operation that was settled.
--
-- KEYS: the notes' keys. ARGV: for each the operation's id. Answers how many were removed. What is no such note is left alone.

local removed = 0
for number, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key)
  local note = (kind.ok or kind) == "string" and redis.call("GET", key)
  if note then
    local is_json, content = pcall(cjson.decode, note)
    if is_json and type(content) == "table" and tostring(content.operationId) == ARGV[number] then
      removed = removed + redis.call("DEL", key)
    end
  end
end
return removed
