-- Shared by scripts that look whether a key of the partition is gone, after flush.lua.
-- Each key that tasks depend on has a witness, which never goes and tells which
-- data they are. If somebody else deletes or evicts the key, the witness is missed
-- even when the next write has made the key anew.
local HASHES = {NAMES, TASKS, SPECS, EXTRA, CHUNKS, BITS, CELLS, UNIQUE, QUEUES}
local FILLED = {WAITING, COUNTS} -- whoever reads all fields of these takes them apart
local SETS = {READY, INDEX, GRANTS, DUE, PURGE}
local ZERO, LAST = '\0\0\0\0\0\0', '\255' -- behind all that is looked for
-- refuse returns the error that names a key which holds something of another kind;
-- nil if there is none. Nothing can be written or mended meanwhile.
local function refuse()
  local kinds = {[READY] = {'ZRANGE', 0, 0}, [DUE] = {'ZRANGE', 0, 0}, [INDEX] = {'ZRANGE', 0, 0}, [PURGE] = {'ZRANGE', 0, 0},
    [GRANTS] = {'ZRANGE', 0, 0}, [EVENTS] = {'XRANGE', '+', '+'}}
  for i = 1, 21 do
    local how = kinds[KEYS[i]] or {'HEXISTS', ''}
    local got = redis.pcall(how[1], KEYS[i], unpack(how, 2))
    if type(got) == 'table' and got.err then
      if string.find(got.err, 'WRONGTYPE', 1, true) then return {err = 'STRANGE ' .. KEYS[i]} end
      return {err = got.err}
    end
  end
end
-- missed returns the keys whose witness is gone, how many they are and what the
-- others say. A script that was torn counts as one: see torn.lua.
local function missed()
  local meta = call('HMGET', META, 'whole', 'torn')
  local out, says, n = {}, meta[1] or nil, meta[2] and 1 or 0
  local function look(key, v)
    if not v then out[key] = true; n = n + 1 end
  end
  if not says then out[META] = true; n = n + 1 end
  for _, key in ipairs(HASHES) do
    local v = call('HGET', key, '')
    look(key, v)
    says = says or v or nil
  end
  for _, key in ipairs(FILLED) do look(key, call('HGET', key, ZERO)) end
  for i, key in ipairs(SETS) do
    look(key, i < 4 and call('ZRANGEBYLEX', key, '[' .. LAST, '[' .. LAST)[1] or call('ZRANGEBYSCORE', key, '+inf', '+inf', 'LIMIT', 0, 1)[1])
  end
  look(SESSIONS, call('HGET', SESSIONS, '*'))
  if not says then return {}, 0 end -- data without witnesses, or none
  return out, n, says
end
-- vanished says, at little cost, whether a key is gone: one that was made anew has
-- had an event since.
local function vanished()
  if ARGV[2] == 'r' then return false end
  if call('EXISTS', META, LANES, NAMES, TASKS, SPECS, EXTRA, CHUNKS, BITS, CELLS, UNIQUE, QUEUES, WAITING, COUNTS, unpack(SETS)) < 18 then return true end
  local m = call('HMGET', META, 'ev', 'looked', 'torn')
  if m[3] then return true end
  if m[1] == m[2] then return false end
  local _, n = missed()
  if n == 0 then call('HSET', META, 'looked', m[1]) end
  return n > 0
end
-- testify puts every witness where it belongs.
local function testify(text)
  call('HSET', META, 'whole', text)
  for _, key in ipairs(HASHES) do call('HSET', key, '', text) end
  for _, key in ipairs(FILLED) do call('HSET', key, ZERO, '0') end
  for i, key in ipairs(SETS) do call('ZADD', key, i > 3 and '+inf' or 0, LAST) end
end
