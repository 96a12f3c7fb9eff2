-- What is shared of a service, read in one step; nothing is changed. KEYS as in exchange.lua, without the cells.
--
-- ARGV[1] is the schema, ARGV[2] what the keys of cells begin with.

local main = redis.call("HMGET", KEYS[1], "schema", "version", "last", "shift", "standing")
if main[1] and main[1] ~= ARGV[1] then
  return {"schema", main[1]}
end
local stamp = redis.call("TIME")
local raw = stamp[1] * 1000000 + stamp[2]
local now = math.max(raw + tonumber(main[4] or 0), tonumber(main[3] or 0))
local names = redis.call("ZRANGE", KEYS[7], 0, -1)
local cells, lasting = {}, 0
for _, name in ipairs(names) do
  local value = redis.call("GET", ARGV[2] .. name)
  if value then
    cells[#cells + 1] = name
    cells[#cells + 1] = value
    if redis.call("PTTL", ARGV[2] .. name) == -1 then lasting = lasting + 1 end
  end
end
for _, key in ipairs(KEYS) do
  if redis.call("PTTL", key) == -1 then lasting = lasting + 1 end
end
return {
  "done",
  string.format("%.0f %.0f %s %d", now, raw, main[2] or "0", lasting),
  main[5] or "",
  cells,
  redis.call("ZRANGE", KEYS[2], 0, -1, "WITHSCORES"),
  redis.call("HGETALL", KEYS[3]),
  redis.call("HGETALL", KEYS[4]),
  redis.call("HGETALL", KEYS[6]),
}
