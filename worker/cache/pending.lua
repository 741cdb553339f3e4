-- Removes the notes of pending operations, each only if it names the operation that was settled.
--
-- KEYS: the notes' keys. ARGV: for each the operation's id. Answers how many were removed. What is no such note is left alone.

-- An id that is a number was taken as text. Compared as numbers: Lua writes no more than 14 digits of one.
local function names(note, id)
  local is_json, content = pcall(cjson.decode, note)
  if not is_json or type(content) ~= "table" then
    return false
  end
  local named = content.operationId
  return named == id or type(named) == "number" and named == tonumber(id)
end

local removed = 0
-- MGET tells nothing of a key that is no string, and most rows have no note at all: one command for all of them.
local notes = #KEYS > 0 and redis.call("MGET", (unpack or table.unpack)(KEYS)) or {}
for number, key in ipairs(KEYS) do
  local note = notes[number]
  if note and names(note, ARGV[number]) then
    -- A key that stands twice here was removed for its first operation, if that was the one.
    removed = removed + redis.call("DEL", key)
  end
end
return removed
