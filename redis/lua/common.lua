-- Shared by scripts that take records apart, after flush.lua: how these are read
-- and written.

local function has(r, f) return band(r.fl, f) ~= 0 end
local function set(r, f) r.fl = bor(r.fl, f) end
local function clear(r, f) r.fl = r.fl - band(r.fl, f) end

-- A record: 38 bytes of head, the due time if there is one, the last hand-out
-- (lease 8, session 16, seq 6, started 8, node) and the last end (time 8, outcome
-- 1, length 3 of the part without the result, that part, result). Lua's hash of a
-- long string skips most of it but not the last byte, and specs are much alike:
-- they come ending with two bytes of the id. A spec is stored with 16 more bytes:
-- priority, flags, queue, type, seq. As long as nothing has happened to a task
-- that was queued at once, they are its record.
local HEAD = '>BHI3I3I7BHI4I4I4HBBI3'
local function decode(id, v)
  local st, fl, q, t, seq, pr, life, ver, claim, att, fail, settled, rl, el = unstruct(HEAD, v)
  local o, at = 39, ''
  if fl % 2 == 1 then at = sub(v, 39, 46); o = 47 end
  return {id = id, st = st, fl = fl, pr = pr, q = q, t = t, seq = seq, life = life, ver = ver, claim = claim, att = att,
    fail = fail, settled = settled, at = at, run = sub(v, o, o + rl - 1), fin = sub(v, o + rl, o + rl + el - 1)}
end
local function encode(r)
  return pack(HEAD, r.st, r.fl, r.q, r.t, r.seq, r.pr, r.life, r.ver, r.claim, r.att, r.fail, r.settled, #r.run, #r.fin) .. r.at .. r.run .. r.fin
end
local function freshrecord(spec)
  return '\3' .. sub(spec, -15) .. sub(spec, -16, -16) .. '\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- life and version 1
end
-- firstrecord is that of a task under way for the first time.
local function firstrecord(seat, run)
  return '\4' .. sub(seat, -15) .. sub(seat, -16, -16) .. '\0\1\0\0\0\2\0\0\0\1\0\0\0\1\0\0\0' .. char(#run) .. '\0\0\0' .. run
end
-- unwritten returns the record of a task that has none yet.
local function unwritten(id, seat)
  local b, place = blockof(seat)
  local e = holder(blocks[b], place)
  if not e then return freshrecord(seat) end
  firsts[id] = {b, place}
  return firstrecord(seat, e.run)
end
-- read returns the records of ids, and the specs that it had to look at. Where a
-- caller knows the seat of a task (the last 16 bytes of its spec), the spec is not needed.
local function read(ids, seats)
  local got, miss, specs = call('HMGET', TASKS, unpack(ids)), {}, {}
  for i, v in ipairs(got) do
    if not v and not (seats and seats[i]) then miss[#miss + 1] = ids[i] end
  end
  local n, list, names = 0, #miss > 0 and call('HMGET', SPECS, unpack(miss)) or miss, {}
  for i, v in ipairs(got) do
    if not v and not (seats and seats[i]) then
      n = n + 1
      specs[i] = list[n] or nil
    end
    if not v and (specs[i] or seats and seats[i]) then names[#names + 1] = (blockof(specs[i] or seats[i])) end
  end
  openblocks(names)
  for i, v in ipairs(got) do
    local seat = specs[i] or seats and seats[i]
    if not v and seat then got[i] = unwritten(ids[i], seat) end
  end
  return got, specs
end
-- specof reads what the producer asked for, which few calls have to know.
local function specof(r)
  if not r.spec then r.spec = call('HGET', SPECS, r.id) end
  return r.spec
end

-- load reads records in one call; records already loaded are shared. seats by id, as far as known.
local function load(ids, seats)
  local miss, out = {}, {}
  for _, id in ipairs(ids) do
    if loaded[id] == nil then loaded[id] = false; miss[#miss + 1] = id end
  end
  for i = 1, #miss, 4000 do
    local last = min(i + 3999, #miss)
    local known
    if seats then
      known = {}
      for j = i, last do known[j - i + 1] = seats[miss[j]] end
    end
    local vals, specs = read({unpack(miss, i, last)}, known)
    for j = i, last do
      local v = vals[j - i + 1]
      if v then
        loaded[miss[j]] = decode(miss[j], v)
        loaded[miss[j]].spec = specs[j - i + 1]
      end
    end
  end
  for i, id in ipairs(ids) do out[i] = loaded[id] end
  return out
end

