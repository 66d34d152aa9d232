-- Merges records: each replaces the stored one only if it is further on.
--
-- ARGV 8 ms that a running task waits for its session, 9 number of queue names,
-- 10 of type names, then the names, then one argument a record, no id twice: id 16, queue
-- index 2, type index 2, length 4 of the packed record, of its spec, these, then
-- what is kept outside: kind length 2, kind, data length 4, data, repeated.
-- Returns compact (a added, u updated, k kept, r both ended), names, records,
-- extras, lines to wake.
local RANK = {2, 1, 3, 4, 0, 0, 0}
local function ended(r) return (has(r, F_DELETED) or r.st >= SUCCEEDED) and 1 or 0 end
local function compare(r, o)
  if r.life ~= o.life then return r.life - o.life end
  local a, b = ended(r), ended(o)
  if a ~= b then return a - b end
  if a == 1 then
    return (has(r, F_DELETED) and 1 or 0) - (has(o, F_DELETED) and 1 or 0)
  end
  if r.claim ~= o.claim then return r.claim - o.claim end
  local s = (r.settled ~= 0 and 1 or 0) - (o.settled ~= 0 and 1 or 0)
  if s ~= 0 then return s end
  if r.st ~= o.st then return RANK[r.st] - RANK[o.st] end
  return r.ver - o.ver
end
local KINDS = {E_SCHEDULED, E_SCHEDULED, E_QUEUED, E_STARTED, E_SUCCEEDED, E_FAILED, E_CANCELED}
-- created is when a task was accepted, in us: a signed varint after the id's own
-- time, behind the retention, the unique key and the trace id.
local function created(r)
  local o = has(r, F_RETENTION) and 9 or 1
  if has(r, F_UNIQUE) then o = o + 2 + unstruct('>H', specof(r), o) end
  o = o + (byte(specof(r), o + 1) % 2 == 1 and 18 or 2)
  local v, m = 0, 1
  while true do
    local b = byte(r.spec, o)
    v = v + b % 128 * m
    if b < 128 then break end
    m, o = m * 128, o + 1
  end
  v = v % 2 == 0 and v / 2 or -(v + 1) / 2
  if floor(byte(r.id, 7) / 16) == 7 then v = v + unstruct('>I6', r.id) * 1000 end
  return v
end
-- counted says whether a record is in the indexes; a new one is not yet.
local function counted(r) return not r.new and not has(r, F_DELETED) and not has(r, F_HIDDEN) end
local function writeids(chunk, list)
  local set, rest = {}, {}
  for i, b in ipairs(blocksof(chunk)) do
    local ids = sub(list, (i - 1) * 512 + 1, i * 512)
    if ids ~= '' then set[#set + 1] = b; set[#set + 1] = ids else rest[#rest + 1] = b end
  end
  call('HSET', CHUNKS, unpack(set))
  if #rest > 0 then call('HDEL', CHUNKS, unpack(rest)) end
end
-- append seats new records behind all that a chunk has; there is room for them.
local function append(chunk, list, fresh)
  for i, r in ipairs(fresh) do
    r.seq = chunk * 256 + #list / 16
    list = list .. r.id
    exists(r, 1)
  end
  writeids(chunk, list)
  return chunk
end
-- before says how many places a chunk has given, if they are all for tasks that
-- were accepted before this one. The last tells, without a look at the others.
local function before(list, chunk, r)
  local n = #list / 16
  if n == 0 then return 0 end
  local last = load({sub(list, -16)})[1]
  return last and last.seq == chunk * 256 + n - 1 and created(last) <= created(r) and n
end
-- rebuild gives the records of one chunk, those that are new among them, seats
-- in order of acceptance; more than 256 take another chunk.
local function rebuild(chunk, fresh)
  local ids, list = {}, idsof(chunk)
  local n = before(list, chunk, fresh[1])
  if n and n + #fresh <= 256 then return append(chunk, list, fresh) end
  for at = 1, #list, 16 do ids[#ids + 1] = sub(list, at, at + 15) end
  local all = {}
  for i, r in ipairs(load(ids)) do
    if r and r.seq == chunk * 256 + i - 1 then all[#all + 1] = r end
  end
  for _, r in ipairs(all) do
    exists(r, -1)
    if counted(r) then seats(r, -1) end
  end
  local at = 1
  for _, r in ipairs(fresh) do
    local c = created(r)
    while all[at] and created(all[at]) <= c do at = at + 1 end
    table.insert(all, at, r)
  end
  local first, room = 1, #all <= 256 and 256 or 192
  while first <= #all do
    local parts = {}
    for i = first, min(first + room - 1, #all) do
      local r = all[i]
      r.seq = chunk * 256 + #parts
      parts[#parts + 1] = r.id
      exists(r, 1)
      if counted(r) then seats(r, 1) end
      if not r.new then touch(r) end
    end
    writeids(chunk, concat(parts))
    first = first + room
    if first <= #all then
      chunk = max(chunk + 1, chunkof(created(all[first]) / 1000))
      while call('HEXISTS', CHUNKS, chunk * 8) == 1 do chunk = chunk + 1 end
    end
  end
  return chunk
end
-- insert seats new records, sorted by acceptance, where they belong.
local function insert(fresh)
  local i = 1
  while i <= #fresh do
    local own = chunkof(created(fresh[i]) / 1000)
    local m = call('ZREVRANGEBYLEX', INDEX, '[' .. pack('>BI3I3I6', 0, 0, 0, own), '[' .. char(0), 'LIMIT', 0, 1)[1]
    local chunk = m and unstruct('>I6', m, 8) or own
    local after = call('ZRANGEBYLEX', INDEX, '(' .. pack('>BI3I3I6', 0, 0, 0, chunk), '(' .. char(1), 'LIMIT', 0, 1)[1]
    local bound = after and unstruct('>I6', after, 8) or math.huge
    -- Behind all of a chunk they fill it, and then begin one of their own.
    local n, room = before(idsof(chunk), chunk, fresh[i]), 192
    if n and n < 256 then
      room = 256 - n
    elseif n then
      local other = max(chunk + 1, own)
      while call('HEXISTS', CHUNKS, other * 8) == 1 do other = other + 1 end
      if other < bound then chunk = other end
    end
    local group = {}
    while fresh[i] and #group < room and (#group == 0 or chunkof(created(fresh[i]) / 1000) < bound) do
      group[#group + 1] = fresh[i]
      i = i + 1
    end
    local top = rebuild(chunk, group)
    -- Enqueue goes on behind all that is there, in a chunk of its own.
    if top >= floor(tonumber(call('HGET', META, 'next') or 0) / 256) then call('HSET', META, 'next', (top + 1) * 256) end
    flush() -- the index decides where the next one goes
  end
end
local function run()
  -- What is there decides where a new one has its place: a chunk that looks empty
  -- would give places away that others have.
  if not call('HGET', SPECS, '') or not call('HGET', CHUNKS, '') then return nil end
  local nq, nt = tonumber(ARGV[9]), tonumber(ARGV[10])
  local first, out, ids, fresh, recs, rest = 11 + nq + nt, {}, {}, {}, {}, {}
  local q, t = numbers(nq, nt, 11, true)
  for i = first, #ARGV do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  local had = load(ids)
  for i, id in ipairs(ids) do
    local a = ARGV[first + i - 1]
    local qi, ti, vl, sl = unstruct('>HHI4I4', a, 17)
    local r, o = decode(id, sub(a, 29, 28 + vl)), had[i]
    r.spec, r.respec = sub(a, 29 + vl, 28 + vl + sl), true
    r.q, r.t = q[qi], t[ti]
    local c = o and compare(r, o)
    if o and c <= 0 and r.ver > o.ver and not has(r, F_DELETED) and not has(o, F_DELETED) and not has(o, F_HIDDEN) then
      o.ver = r.ver + 1 -- readers may have seen that
      touch(o)
    end
    if o and c == 0 and o.st >= SUCCEEDED and not has(o, F_DELETED)
      and (o.claim ~= r.claim or sub(o.run, 1, 8) ~= sub(r.run, 1, 8) or o.st ~= r.st) then
      out[i] = 'r'
    elseif o and c <= 0 then
      out[i] = 'k'
    else
      if o then
        if not has(o, F_DELETED) and not has(o, F_HIDDEN) then tally(o, -1) end
        forget(o)
        if has(o, F_UNIQUE) then
          local k = uniquekey(o)
          if call('HGET', UNIQUE, k) == id then call('HDEL', UNIQUE, k) end
        end
        r.seq = o.seq
        r.ver = max(r.ver, o.ver + 1) -- readers have seen that
        if r.life > o.life and r.st ~= RUNNING then r.claim = max(r.claim, o.claim) end
      end
      if not o or created(o) ~= created(r) then
        if o then exists(o, -1) end -- its seat is elsewhere
        r.new = true
        r.seq = -1
        fresh[#fresh + 1] = r
      end
      loaded[id] = r
      out[i] = o and 'u' or 'a'
      recs[i], rest[i] = r, sub(a, 29 + vl + sl)
    end
  end
  local function settle(i)
    local r = recs[i]
    local at, x = 1, rest[i]
    while at < #x do
      local kl = unstruct('>H', x, at)
      local dl = unstruct('>I4', x, at + 2 + kl)
      call('HSET', EXTRA, r.id .. sub(x, at + 2, at + 1 + kl), sub(x, at + 6 + kl, at + 5 + kl + dl))
      at = at + 6 + kl + dl
    end
    if has(r, F_DELETED) then
      leaves(r, finished(r) + max(retention(r), HOUR))
    else
      if r.st >= SUCCEEDED then
        leaves(r, finished(r) + max(retention(r), LINGER))
      elseif has(r, F_UNIQUE) then
        call('HSETNX', UNIQUE, uniquekey(r), r.id)
      end
      tally(r, 1)
      if r.st == RUNNING then
        call('ZADD', DUE, now + tonumber(ARGV[8]), r.id)
        if has(r, F_CANCEL) then call('HSET', CANCELS, r.id, sub(NOBODY, 1, 16)) end
      end
    end
    touch(r)
    event(has(r, F_DELETED) and E_DELETED or KINDS[r.st], r)
  end
  for i = 1, #ids do
    if recs[i] and not recs[i].new then settle(i) end
  end
  flush()
  insert(fresh)
  for i = 1, #ids do
    if recs[i] and recs[i].new then settle(i) end
  end
  flush()
  return concat(out)
end
local function expand(compact)
  local first, ids = 11 + tonumber(ARGV[9]) + tonumber(ARGV[10]), {}
  for i = first, #ARGV do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  local names, vals = values(ids)
  return {compact, names, vals, extras(vals, false), linenames(woken)}
end
return numbered(run, expand)
