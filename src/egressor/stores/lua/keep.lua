-- Keep an answer among those of its service.
--
-- KEYS: the hash of answers, that of their sizes, the sorted set of when each has to go (milliseconds of this server).
-- ARGV: the answer's key, the answer, now, for how many milliseconds, how many answers at most, how many bytes.
-- In the hash of sizes the field of an empty name has the sum.
local answers, sizes, ends = KEYS[1], KEYS[2], KEYS[3]
local now, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])

-- Each of the three ends by itself: what is left of them means nothing.
if redis.call('ZCARD', ends) == 0 or redis.call('HGET', sizes, '') == false then
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 0)
  end
end
local sum = tonumber(redis.call('HGET', sizes, '') or 0)

local function drop(key)
  sum = sum - tonumber(redis.call('HGET', sizes, key) or 0)
  redis.call('HDEL', sizes, key)
  redis.call('HDEL', answers, key)
  redis.call('ZREM', ends, key)
end

for _, key in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
  drop(key)
end
drop(ARGV[1])
local size = #ARGV[2]
if size <= most_bytes then
  redis.call('HSET', answers, ARGV[1], ARGV[2])
  redis.call('HSET', sizes, ARGV[1], size)
  redis.call('ZADD', ends, now + ttl, ARGV[1])
  sum = sum + size
end
while redis.call('ZCARD', ends) > most or sum > most_bytes do
  local first = redis.call('ZRANGE', ends, 0, 0)[1]
  if not first then
    break
  end
  drop(first)
end
redis.call('HSET', sizes, '', sum)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, ttl)
  end
end
return 1
