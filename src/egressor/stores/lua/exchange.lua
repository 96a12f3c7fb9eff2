-- What the members of a fleet decide together, as one step inside of a Redis or Valkey server.
--
-- This is egressor/_core/fleet.py and the algorithms of egressor/_core/limits.py again, function by function, in the
-- same order and under the same names; the pure function is the specification, and the conformance suite holds the two
-- together. Whoever changes one changes the other.
--
-- Numbers here are doubles. Microseconds since 1970 are below 2^53, so sums, comparisons and floors of them are exact;
-- limits whose horizon would leave that range are refused in Python (redis_words.refusal). A product of units and a gap
-- may pass 2^53; it is only compared with something far below.
--
-- Keys, all with one hash tag, all with a time to live:
--   KEYS[1] main     hash: schema, version, standing, last (the latest time told), shift (see `clock`), fresh
--   KEYS[2] alive    sorted set: member -> when it counts as dead
--   KEYS[3] members  hash: member -> [address, info]
--   KEYS[4] held     hash: "<length of member>:<member><cell>" -> places
--   KEYS[5] sums     hash: cell -> places held of it by all
--   KEYS[6] waits    hash: cell -> [member, level, since, deadline, units, seen, told, member, ...]
--   KEYS[7] index    sorted set: cell -> when it expires; for looking, so only the first some of the keyed ones
--   KEYS[8...]       the cells that count: text for a token bucket, else a packed list
--
-- ARGV[1] is the request as JSON, which holds numbers alone; texts follow: member, address, info, standing, and the names
-- of those cells that have no key (places are kept in hashes). A cell is named by its number: keys first, then texts.

local q = cjson.decode(ARGV[1])
local member, address, info, standing = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local KEEP, LONG, SHORT, INDEXED = 3900000, 8640000000, 60000000, 1000
local GCRA, SLIDING, FIXED, CONCURRENCY = 1, 2, 3, 4
local HOLD, SLICES, COUNT, FOREVER = 100000, 64, 281474976710655, 4611686018427387904
local STAY, LIFE, TOP, AGE = q.stay, q.life, q.top, q.age
local floor, max, min = math.floor, math.max, math.min
local call, pack, unpack_ = redis.call, cmsgpack.pack, cmsgpack.unpack

-- The long form where a build's integers are short.
local format = string.format("%d", 2 ^ 53) == "9007199254740992" and "%d" or "%.0f"
local function text(number)
  return string.format(format, number)
end

-- --- time ------------------------------------------------------------------------------------------------------------

local main = call("HMGET", KEYS[1], "schema", "version", "last", "shift", "fresh")
if main[1] and main[1] ~= q.schema then
  return {"schema", main[1]}
end
local version, last, shift, fresh = tonumber(main[2] or 0), tonumber(main[3] or 0), tonumber(main[4] or 0), main[5]

-- The server's time, held: a member that has heard of it lately knows what it should be. A server whose clock steps, or
-- another one that takes over, is followed only in how time goes on. A member that is behind what the fleet was told
-- already has been asleep, and teaches nobody.
--
-- What it should be is said for when the request was sent, and nobody here knows how long it was on its way: a server
-- that was stopped finds requests that were given up long ago. So nothing is done for one that is far off, and its
-- member is told what time it is. If that can't be explained by the way, the member says what the time should have been
-- as the server's clock showed `at`: that is the same however late it comes.
local stamp = call("TIME")
local raw = stamp[1] * 1000000 + stamp[2]
local step = 0
local function clock()
  local now = raw + shift
  local expect = q.at < 0 and q.expect or q.expect + raw - q.at
  if q.expect >= 0 and math.abs(expect - now) > q.within and expect >= last - q.within then
    if q.at < 0 then return nil end
    step = now - expect
    shift = shift - step
    now = expect
  end
  return max(now, last)
end
local now, wall
if q.now then
  now, wall = q.now, q.wall
else
  now = clock()
  wall = raw
end
if not now then
  return {"step", text(raw), text(raw + shift)}
end

-- Windows by the calendar are worked out in Python, for the time that it thinks it is. Nothing has changed yet.
for _, limit in ipairs(q.limits) do
  if limit[1] == FIXED and (wall < limit[6] or wall >= limit[#limit]) then
    return {"again", text(wall)}
  end
end

-- --- the short way: one call, for whose cells nobody waits ---------------------------------------------------------------

-- Most exchanges are of this kind. It is what all that follows would do, without the functions that it takes, which a
-- server makes anew for each run. Until all is known nothing is changed; where anything is unusual, nothing is at all.
local function short()
  local dead = call("ZRANGEBYSCORE", KEYS[2], "-inf", text(now), "LIMIT", 0, 1)
  if #dead > 0 or not fresh or math.abs(raw - tonumber(fresh)) > SHORT then return end
  local parts, values, till = q.wants[1][5], {}, FOREVER
  for i = 1, #parts, 3 do
    local cell, units, limit = parts[i], parts[i + 1], q.limits[parts[i + 2]]
    local value = call("GET", KEYS[7 + cell])
    if not value or call("HGET", KEYS[6], string.sub(KEYS[7 + cell], q.prefix)) then return end
    if limit[1] == GCRA and tonumber(value) then
      local gap, span, cost = limit[2], limit[3], units * limit[2]
      local late = min(HOLD, gap + floor((span - gap) / 2)) - 1
      local rest = span - max(0, late + 1 - gap)
      local after = max(tonumber(value), now) + cost
      if after > now + max(rest, min(span, cost)) then return end
      values[i] = text(after)
      till = min(till, now + (cost <= rest and late or gap - 1))
    elseif limit[1] == SLIDING and string.sub(value, 1, 1) == "s" then
      local t, bucket = unpack_(string.sub(value, 3)), floor(now / limit[3])
      if t[1] ~= bucket or #t < 3 or t[2] + units > limit[2] then return end
      t[2], t[3] = t[2] + units, t[3] + units
      values[i] = string.sub(value, 1, 1) .. string.char(limit[6]) .. pack(t)
      till = min(till, (bucket + 1) * limit[3])
    else
      return
    end
  end
  if call("ZADD", KEYS[2], text(now + LIFE), member) == 1 then
    call("HSET", KEYS[3], member, pack({address, info}))
    call("PEXPIRE", KEYS[2], KEEP)
    call("PEXPIRE", KEYS[3], KEEP)
  end
  call("HSET", KEYS[1], "last", text(max(now, last)), "shift", text(shift))
  local head = {text(now), text(wall), text(step), 0, text(version), call("ZCARD", KEYS[2]), 1, text(till), 0, -1}
  local cells = {}
  for i = 1, #parts, 3 do
    local cell = parts[i]
    call("SET", KEYS[7 + cell], values[i], "PX", text(q.limits[parts[i + 2]][5]))
    head[#head + 1] = cell
    cells[#cells + 1] = values[i]
  end
  return {"done", table.concat(head, " "), cells, {}}
end
if q.lone == 1 and main[1] and q.version == version then
  local reply = short()
  if reply then return reply end
end

-- --- limits: a value is a number (token bucket), {bucket, total, count, ...} (sliding), {end, length, count} (fixed) ---

local function sliding_at(t, bucket)
  if not t then return {bucket, 0} end
  local steps = bucket - t[1]
  if t[2] == 0 or steps > SLICES then return {bucket, 0} end
  local new, total = {bucket, 0}, t[2]
  for i = 1, steps do new[2 + i] = 0 end
  for i = 3, #t do
    if i - 3 + steps <= SLICES then new[i + steps] = t[i] else total = total - t[i] end
  end
  new[2] = total
  return new
end

local function sliding_now(limit, t)
  return sliding_at(t, max(floor(now / limit[3]), t and t[1] or 0))
end

local function sliding_wait(limit, t, cost)
  local missing = t[2] + cost - limit[2]
  for age = SLICES, -1, -1 do
    if missing <= 0 then return 0 end
    if age < 0 then break end
    missing = missing - (t[3 + age] or 0)
    if missing <= 0 then return (t[1] - age + SLICES + 1) * limit[3] - now end
  end
  return FOREVER
end

local function fixed_now(limit, t)
  if t and now < t[1] then return t end
  local i = 7
  while wall >= limit[i] do i = i + 1 end
  local following = limit[i] - (wall - now)
  if t and t[1] > 0 and following - t[1] < limit[4] then following = following + limit[3] end
  return {following, following - now, 0}
end

local function is_some(value)
  if type(value) == "table" then return value[1] ~= 0 or value[2] ~= 0 end
  return value ~= nil and value ~= 0
end

-- How late a grant of a token bucket may be used, and what is held back of the burst for it.
local function late(limit)
  return min(HOLD, limit[2] + floor((limit[3] - limit[2]) / 2)) - 1
end

local function kept(limit)
  return max(0, late(limit) + 1 - limit[2])
end

-- Take units: the new value, or nil and the wait.
local function lend(limit, value, units)
  if limit[1] == GCRA then
    local cost = units * limit[2]
    local after = max(value or 0, now) + cost
    local latest = now + max(limit[3] - kept(limit), min(limit[3], cost))
    if after <= latest then return after end
    return nil, after - latest
  elseif limit[1] == SLIDING then
    local t = sliding_now(limit, value)
    if t[2] + units <= limit[2] then
      t[2], t[3] = t[2] + units, (t[3] or 0) + units
      return t
    end
    return nil, sliding_wait(limit, t, units)
  end
  local t = fixed_now(limit, value)
  if t[3] + units <= limit[2] then return {t[1], t[2], t[3] + units} end
  return nil, t[1] - now
end

-- Take units whether or not they fit.
local function charge(limit, value, units)
  if limit[1] == GCRA then
    local from = max(value or 0, now)
    return max(value or 0, min(from + units * limit[2], now + limit[4]))
  elseif limit[1] == SLIDING then
    local t = sliding_now(limit, value)
    if t[2] + units >= limit[4] then return {t[1], limit[4], limit[4]} end
    t[2], t[3] = t[2] + units, (t[3] or 0) + units
    return t
  end
  local t = fixed_now(limit, value)
  return {t[1], t[2], t[3] + min(units, COUNT - t[3])}
end

-- Give back units that were taken at a time and never used.
local function refund(limit, value, units, at)
  if limit[1] == GCRA then
    local age = max(0, now - at)
    local back = units * limit[2] - age
    if back <= 0 or age >= limit[4] - limit[6] or value > now + limit[6] then return value end
    return max(0, value - back)
  elseif limit[1] == SLIDING then
    local t = sliding_now(limit, value)
    local age = t[1] - floor(at / limit[3])
    if age < 0 or age > SLICES or t[2] == limit[4] then return t end
    local back = min(units, t[3 + age] or 0)
    if back > 0 then t[2], t[3 + age] = t[2] - back, t[3 + age] - back end
    return t
  end
  if now >= value[1] or at < value[1] - value[2] or value[3] == COUNT then return value end
  return {value[1], value[2], value[3] - min(units, value[3])}
end

local function left(limit, value)
  if limit[1] == GCRA then return max(0, floor((limit[3] - max(0, (value or 0) - now)) / limit[2])) end
  if limit[1] == SLIDING then return max(0, limit[2] - sliding_now(limit, value)[2]) end
  return max(0, limit[2] - fixed_now(limit, value)[3])
end

-- Until when units may be used that are granted now.
local function grace(limit, value, units)
  if limit[1] == SLIDING then return (floor(now / limit[3]) + 1) * limit[3] end
  if limit[1] == FIXED then return value and value[1] or 0 end
  if limit[1] == GCRA then
    return now + (units * limit[2] <= limit[3] - kept(limit) and late(limit) or limit[2] - 1)
  end
  return now + LIFE
end

-- --- what is shared: read as it is needed, written at the end -----------------------------------------------------------

local keyed = #KEYS - 7
local prefix = q.prefix
local names, values, is_missing, rows, dirty = {}, {}, {}, {}, {}
for i = 1, keyed do names[i] = string.sub(KEYS[7 + i], prefix) end
for i = 6, #ARGV do names[keyed + i - 5] = ARGV[i] end

local function load_values()
  for i = 1, keyed do
    local value, kind = call("GET", KEYS[7 + i]), q.limits[q.keyed[i]][1]
    local letter = value and string.sub(value, 1, 1)
    if letter == "s" and kind == SLIDING or letter == "f" and kind == FIXED then
      values[i] = unpack_(string.sub(value, 3))
    elseif value and kind == GCRA and tonumber(value) then
      values[i] = tonumber(value)
    else
      -- Nothing, or what another kind of limit left under the same name.
      is_missing[i] = true
    end
  end
end

-- The waiters of a cell, by member.
local function row_of(name)
  local row = rows[name]
  if row then return row end
  row = {}
  rows[name] = row
  local packed = call("HGET", KEYS[6], name)
  if packed then
    local flat = unpack_(packed)
    for i = 1, #flat, 7 do
      row[flat[i]] = {flat[i + 1], flat[i + 2], flat[i + 3], flat[i + 4], flat[i + 5], flat[i + 6]}
    end
  end
  return row
end

local function write_row(name)
  local flat, n = {}, 0
  for who, wait in pairs(rows[name]) do
    flat[n + 1] = who
    for i = 1, 6 do flat[n + 1 + i] = wait[i] end
    n = n + 7
  end
  if n == 0 then
    call("HDEL", KEYS[6], name)
  elseif call("HSET", KEYS[6], name, pack(flat)) == 1 then
    call("PEXPIRE", KEYS[6], KEEP)
  end
end

local function field(who, name)
  return #who .. ":" .. who .. name
end

local function held(name)
  return tonumber(call("HGET", KEYS[4], field(member, name)) or 0)
end

local function sum(name)
  return tonumber(call("HGET", KEYS[5], name) or 0)
end

local function hold(name, units)
  local before = held(name)
  if before == units then return before end
  if units == 0 then
    call("HDEL", KEYS[4], field(member, name))
  elseif call("HSET", KEYS[4], field(member, name), text(units)) == 1 then
    call("PEXPIRE", KEYS[4], KEEP)
  end
  local total = sum(name) + units - before
  if total == 0 then
    call("HDEL", KEYS[5], name)
  elseif call("HSET", KEYS[5], name, text(total)) == 1 then
    call("PEXPIRE", KEYS[5], KEEP)
  end
  return before
end

local function save(i, limit, value)
  values[i] = value
  dirty[i] = limit
end

-- A value as it is kept: a number, or a letter for its kind, the bits of a count, and a packed list.
local function told(limit, value)
  if type(value) ~= "table" then return text(value or 0) end
  if limit[1] == FIXED then return "f0" .. pack(value) end
  local size = #value
  while size > 2 and value[size] == 0 do
    value[size] = nil
    size = size - 1
  end
  return "s" .. string.char(limit[6]) .. pack(value)
end

-- Note that there is a new cell, in place of some that have expired.
local function enter(i, limit)
  local name, index, start = names[i], KEYS[7], string.sub(KEYS[8], 1, prefix - 1)
  for _, old in ipairs(call("ZRANGEBYSCORE", index, "-inf", text(raw), "LIMIT", 0, 4)) do
    local rest = call("PTTL", start .. old)
    if rest < 0 then call("ZREM", index, old) else call("ZADD", index, text(raw + rest * 1000), old) end
  end
  if not string.find(name, "|", 1, true) or call("ZCARD", index) < INDEXED then
    call("ZADD", index, text(raw + limit[5] * 1000), name)
  end
  call("PEXPIRE", index, LONG)
end

local function write_value(i, limit)
  call("SET", KEYS[7 + i], told(limit, values[i]), "PX", text(limit[5]))
  if is_missing[i] then enter(i, limit) end
end

-- Servers compare texts by their locale; members and cells have one order everywhere.
local function less(a, b)
  for i = 1, min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- --- the exchange --------------------------------------------------------------------------------------------------------

local given, given_names = {}, {}
local function give(name)
  if not given[name] then
    given[name] = true
    given_names[#given_names + 1] = name
  end
end

-- Forget the dead. It is rare, so it may look at everything that is held.
local function bury()
  local dead = call("ZRANGEBYSCORE", KEYS[2], "-inf", text(now))
  if #dead == 0 then return end
  local is_dead = {}
  for _, who in ipairs(dead) do
    is_dead[who] = true
    call("ZREM", KEYS[2], who)
    call("HDEL", KEYS[3], who)
  end
  local all = call("HGETALL", KEYS[4])
  for i = 1, #all, 2 do
    local size, start = string.match(all[i], "^(%d+):()")
    if is_dead[string.sub(all[i], start, start + size - 1)] then
      local name = string.sub(all[i], start + size)
      call("HDEL", KEYS[4], all[i])
      local total = sum(name) - tonumber(all[i + 1])
      if total > 0 then call("HSET", KEYS[5], name, text(total)) else call("HDEL", KEYS[5], name) end
      give(name)
    end
  end
  for _, name in ipairs(call("HKEYS", KEYS[6])) do
    local row, is_changed = row_of(name), false
    for who in pairs(row) do
      if is_dead[who] then
        row[who] = nil
        is_changed = true
      end
    end
    if is_changed then write_row(name) end
  end
end

local function level_of(wait)
  local level = wait[1]
  if AGE > 0 then level = level + floor(max(0, now - wait[2]) / AGE) end
  return min(level, TOP)
end

-- Whether one goes before another: level, deadline, since; 1, -1, or 0 where they are alike.
local function order(a, b)
  local x, y = level_of(a), level_of(b)
  if x ~= y then return x > y and 1 or -1 end
  if a[3] ~= b[3] then return a[3] < b[3] and 1 or -1 end
  if a[2] ~= b[2] then return a[2] < b[2] and 1 or -1 end
  return 0
end

local function best(name)
  local found, first
  for who, wait in pairs(row_of(name)) do
    if who ~= member and wait[5] > now - STAY then
      local is_before = first and order(wait, first)
      if not first or is_before > 0 or (is_before == 0 and less(who, found)) then found, first = who, wait end
    end
  end
  return found, first
end

local function take_back()
  for i = 1, #q.places, 2 do
    local name, units = names[q.places[i]], q.places[i + 1]
    if hold(name, units) > units then give(name) end
  end
  for i = 1, #q.backs, 4 do
    local cell, units, limit, at = q.backs[i], q.backs[i + 1], q.limits[q.backs[i + 2]], q.backs[i + 3]
    if at == -2 then
      if not is_some(values[cell]) then save(cell, limit, charge(limit, values[cell], units)) end
    elseif at < 0 then
      save(cell, limit, charge(limit, values[cell], units))
    elseif is_some(values[cell]) then
      save(cell, limit, refund(limit, values[cell], units, at))
      give(names[cell])
    end
  end
end

local limits, named = {}, {}
local function name_limit(cell, limit)
  if not limits[cell] then named[#named + 1] = cell end
  limits[cell] = limit
end

-- Take all of a want's parts, or say which cell is short for longest, for how long, and of how much.
local function take(parts)
  local taken, worst, wait, size, longest = {}, nil, nil, nil, -1
  for i = 1, #parts, 3 do
    local cell, units, limit = parts[i], parts[i + 1], q.limits[parts[i + 2]]
    if limit[1] == CONCURRENCY then
      if sum(names[cell]) + units > limit[2] and longest < FOREVER then
        worst, wait, size, longest = cell, -1, units, FOREVER
      end
    else
      local after, short = lend(limit, values[cell], units)
      if short and short > 0 and short > longest then worst, wait, size, longest = cell, short, units, short end
      taken[i] = after
    end
  end
  if worst then return worst, wait, size end
  for i = 1, #parts, 3 do
    local cell, units, limit = parts[i], parts[i + 1], q.limits[parts[i + 2]]
    if limit[1] == CONCURRENCY then
      hold(names[cell], held(names[cell]) + units)
    else
      save(cell, limit, taken[i])
    end
  end
end

-- Let as many of a want's calls go as may: times, until, the short cell, the wait.
local mine = {}
local function serve(want)
  local level, since, deadline, most, parts = want[1], want[2], want[3], want[4], want[5]
  local all = most
  for i = 1, #parts, 3 do name_limit(parts[i], q.limits[parts[i + 2]]) end
  for i = 1, #parts, 3 do
    if mine[parts[i]] then return 0, 0, parts[i], -1 end
  end
  for i = 1, #parts, 3 do
    local own = {level, since, deadline, parts[i + 1], now, 0}
    local _, first = best(names[parts[i]])
    if first then
      if order(first, own) > 0 then
        mine[parts[i]] = own
        return 0, 0, parts[i], -1
      end
      -- The calls behind the first one have ranks of their own.
      most = 1
    end
  end
  local times, till = 0, 0
  while times < most do
    local cell, wait, units = take(parts)
    if cell then
      mine[cell] = {level, since, deadline, units, now, 1}
      return times, till, cell, wait
    end
    times = times + 1
    till = #parts == 0 and now + LIFE or FOREVER
    for i = 1, #parts, 3 do till = min(till, grace(q.limits[parts[i + 2]], values[parts[i]], parts[i + 1])) end
  end
  if most < all and #parts > 0 then
    -- Until its member has told of the next one's rank, nobody below passes.
    mine[parts[1]] = {level, since, deadline, parts[2], now, 1}
    return times, till, parts[1], 0
  end
  return times, till, 0, -1
end

local function top_up(cell, units, limit, share)
  name_limit(cell, limit)
  local name = names[cell]
  if best(name) then return 0, 0 end
  if limit[1] == CONCURRENCY then
    units = min(units, floor(max(0, limit[2] - sum(name)) / share))
    if units > 0 then hold(name, held(name) + units) end
    return units, now + LIFE
  end
  units = min(units, floor(left(limit, values[cell]) / share))
  local after = units > 0 and lend(limit, values[cell], units) or nil
  if not after then return 0, 0 end
  save(cell, limit, after)
  return units, grace(limit, after, units)
end

local function register()
  local function out(cell)
    local row = row_of(names[cell])
    if row[member] and not mine[cell] then
      row[member] = nil
      dirty[names[cell]] = true
    end
  end
  for _, cell in ipairs(named) do out(cell) end
  for _, cell in ipairs(q.left) do out(cell) end
  for cell, wait in pairs(mine) do
    row_of(names[cell])[member] = wait
    dirty[names[cell]] = true
  end
end

local function could(cell, limit, units)
  if limit[1] == CONCURRENCY then return sum(names[cell]) + units <= limit[2] end
  local after, wait = lend(limit, values[cell], units)
  return after ~= nil or wait <= 0
end

-- The addresses of those whose turn it may be now, and who don't come by themselves.
local function calls()
  local number, all = {}, {}
  local function add(name)
    if number[name] == nil then
      number[name] = false
      all[#all + 1] = name
    end
  end
  for _, cell in ipairs(named) do
    add(names[cell])
    number[names[cell]] = cell
  end
  for _, name in ipairs(given_names) do add(name) end
  local is_left = {}
  for _, cell in ipairs(q.left) do
    add(names[cell])
    is_left[names[cell]] = true
  end
  local found = {}
  for _, name in ipairs(all) do
    local who, first = best(name)
    local cell = number[name]
    local own = cell and mine[cell]
    if first and not (own and order(own, first) > 0) then
      if given[name] or is_left[name] or first[6] == 0 or (cell and could(cell, limits[cell], first[4])) then
        first[6] = 1
        dirty[name] = true
        found[#found + 1] = {name, who}
      end
    end
  end
  if #found > 1 then table.sort(found, function(a, b) return less(a[1], b[1]) end) end
  local addresses, is_in = {}, {}
  for _, each in ipairs(found) do
    local about = call("HGET", KEYS[3], each[2])
    local where = about and unpack_(about)[1]
    if where and not is_in[where] then
      is_in[where] = true
      addresses[#addresses + 1] = where
    end
  end
  return addresses
end

local function write_main()
  call("HSET", KEYS[1], "last", text(max(now, last)), "shift", text(shift))
  if not main[1] then call("HSET", KEYS[1], "schema", q.schema, "version", text(version), "standing", "") end
  if not fresh or math.abs(raw - tonumber(fresh)) > SHORT then
    call("HSET", KEYS[1], "fresh", text(raw))
    call("PEXPIRE", KEYS[1], LONG)
    call("PEXPIRE", KEYS[7], LONG)
    for i = 2, 6 do call("PEXPIRE", KEYS[i], KEEP) end
  end
end

local is_new = main[1] and 0 or 1
if q.version ~= version then
  write_main()
  local head = {text(now), text(wall), text(step), is_new, text(version), call("ZCARD", KEYS[2])}
  return {"old", table.concat(head, " "), call("HGET", KEYS[1], "standing") or ""}
end

bury()
load_values()
if call("ZADD", KEYS[2], text(now + LIFE), member) == 1 or q.told == 0 then
  call("HSET", KEYS[3], member, pack({address, info}))
  call("PEXPIRE", KEYS[2], KEEP)
  call("PEXPIRE", KEYS[3], KEEP)
end
write_main()
if q.standing == 1 then
  version = math.max(version + 1, now)
  call("HSET", KEYS[1], "version", text(version), "standing", standing)
end
take_back()
local head = {text(now), text(wall), text(step), is_new, text(version), call("ZCARD", KEYS[2])}
for _, want in ipairs(q.wants) do
  local times, till, cell, wait = serve(want)
  head[#head + 1] = text(times)
  head[#head + 1] = text(till)
  head[#head + 1] = text(cell)
  head[#head + 1] = text(wait)
end
for i = 1, #q.tops, 4 do
  local units, till = top_up(q.tops[i], q.tops[i + 1], q.limits[q.tops[i + 2]], q.tops[i + 3])
  head[#head + 1] = text(units)
  head[#head + 1] = text(till)
end
register()
local addresses = calls()
local cells = {}
for i, cell in ipairs(named) do
  head[#head + 1] = text(cell)
  local value = values[cell]
  cells[i] = limits[cell][1] == CONCURRENCY and text(sum(names[cell])) or told(limits[cell], value)
end
for key, limit in pairs(dirty) do
  if type(key) == "number" then write_value(key, limit) else write_row(key) end
end
return {"done", table.concat(head, " "), cells, addresses}
