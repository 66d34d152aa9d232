-- Shared by every script, after base.lua and common.lua: how a record moves between states,
-- and what every script writes.

-- What a script changes is gathered and written once per batch by flush.
local dirty, dirtied = {}, {}
local dcount, dcell, dwait, dbits, dopen, dflow = {}, {}, {}, {}, {}, {}
local dueadd, duerem, gone, keep, evs = {}, {}, {}, {}, {}
local woken = {} -- types whose line was empty and is not any more
local function bump(t, k, n) t[k] = (t[k] or 0) + n end

local function touch(r)
  if not dirty[r.id] then dirty[r.id] = r; dirtied[#dirtied + 1] = r end
end
-- cellof returns the index keys of a record's place and state; those of the last
-- one are kept, because tasks of a batch mostly share them.
local memo, total, totalof = {}, nil, -1
local function cellof(r)
  local st, chunk = r.st, floor(r.seq / 256)
  local m = memo[st]
  if m and m.chunk == chunk and m.t == r.t and m.q == r.q and m.pr == r.pr then return m end
  m = {chunk = chunk, q = r.q, t = r.t, pr = r.pr, cell = pack('>BI3I3I6', st, r.q, r.t, chunk), count = pack('>BI3', st, r.q)}
  if st == QUEUED then
    m.wait = pack('>I3I3', r.q, r.t)
    local key = pack('>I3I3BI6', r.q, r.t, r.pr, chunk)
    m.bits = dbits[key] or {}
    dbits[key] = m.bits
  elseif st == SCHEDULED then
    m.again, m.count2 = pack('>BI3I3I6', RETRYING, r.q, r.t, chunk), pack('>BI3', RETRYING, r.q)
  end
  memo[st] = m
  return m
end
-- seats adds a record to the indexes that name its place, or takes it out.
local function seats(r, sign)
  local m, st = cellof(r), r.st
  dcell[m.cell] = (dcell[m.cell] or 0) + sign
  if st == QUEUED then
    m.bits[r.seq % 256] = sign > 0
  elseif st == SCHEDULED and r.fail > 0 then
    bump(dcell, m.again, sign)
  end
  return m
end
local function exists(r, sign)
  local chunk = floor(r.seq / 256)
  if chunk ~= totalof then total, totalof = pack('>BI3I3I6', 0, 0, 0, chunk), chunk end
  bump(dcell, total, sign)
end
-- tally adds a record to every index of its state, or takes it out (sign -1).
local function tally(r, sign)
  local st, m = r.st, seats(r, sign)
  dcount[m.count] = (dcount[m.count] or 0) + sign
  if st == QUEUED then
    dwait[m.wait] = (dwait[m.wait] or 0) + sign
  elseif st == SCHEDULED then
    if r.fail > 0 then bump(dcount, m.count2, sign) end
    if sign > 0 then
      dueadd[r.id] = math.ceil(unstruct('>I8', r.at) / 1000)
      duerem[r.id] = nil
    else
      duerem[r.id] = true
      dueadd[r.id] = nil
    end
  elseif st == RUNNING then
    local g = sub(r.run, 9, 30)
    if g ~= NOBODY then bump(dopen, g, sign) end
    if sign < 0 then
      if has(r, F_CANCEL) then call('HDEL', CANCELS, r.id) end
      if g == NOBODY then call('ZREM', DUE, r.id) end
    end
  end
end
local function event(kind, r)
  evs[#evs + 1] = pack('>Bc16I3I3BI4I4', kind, r.id, r.t, r.q, r.st, r.att, r.ver)
end
local function uniquekey(r)
  local o = has(r, F_RETENTION) and 9 or 1
  local n = unstruct('>H', specof(r), o)
  return sub(r.spec, o + 2, o + 1 + n)
end
local function retention(r)
  if has(r, F_RETENTION) then return unstruct('>I8', specof(r)) / 1000000 end
  return tonumber(ARGV[r.st == SUCCEEDED and 6 or 7])
end
-- leaves plans when sweep looks at an ended task: rounded up, so that a batch
-- shares one entry.
local function leaves(r, at)
  at = math.ceil(at / BUCKET) * BUCKET
  local k = keep[at]
  if not k then k = {}; keep[at] = k end
  k[#k + 1] = r.id
end
-- archive adds the last hand-out to the history, with the end given.
local function archive(r, front, outcome)
  local run = sub(r.run, 31)
  local old = has(r, F_HISTORY) and call('HGET', EXTRA, r.id .. 'h') or ''
  call('HSET', EXTRA, r.id .. 'h', old .. pack('>I4HBBI3', r.att, r.life, outcome, #run, #front) .. run .. front)
  set(r, F_HISTORY)
end
-- move brings a record into another state, in all indexes; the caller has taken
-- it out of the old ones with tally(r, -1).
local function move(r, st, kind, at)
  r.st = st
  r.ver = r.ver + 1
  if st == SCHEDULED then r.at = at; set(r, F_RUNAT) elseif r.at ~= '' then r.at = ''; clear(r, F_RUNAT) end
  if st >= SUCCEEDED then
    clear(r, F_CANCEL)
    if has(r, F_UNIQUE) then
      local k = uniquekey(r)
      if call('HGET', UNIQUE, k) == r.id then call('HDEL', UNIQUE, k) end
    end
    leaves(r, now + max(retention(r), LINGER))
  end
  tally(r, 1)
  touch(r)
  if kind then event(kind, r) end
end
-- giveback returns a running task to its queue because its session will not
-- finish it. outcome: 6 released, 7 lost.
local function giveback(r, outcome)
  tally(r, -1)
  local front = nowns .. '\0'
  r.settled = outcome
  if has(r, F_CANCEL) then
    r.fin = nowns .. char(outcome) .. pack('>I3', #front) .. front
    bump(dflow, 'c', 1)
    r.run = sub(r.run, 1, 8) .. NOBODY .. sub(r.run, 31)
    return move(r, CANCELED, E_CANCELED)
  end
  archive(r, front, outcome)
  r.run = sub(r.run, 1, 8) .. NOBODY .. sub(r.run, 31)
  move(r, QUEUED, E_QUEUED)
end

local function flushbits()
  local keys = {}
  for k in pairs(dbits) do keys[#keys + 1] = k end
  if #keys == 0 then return end
  local got = call('HMGET', BITS, unpack(keys))
  for i, k in ipairs(keys) do
    local b, any = {byte(got[i] or string.rep('\0', 32), 1, 32)}, false
    for n, on in pairs(dbits[k]) do
      local at, m = floor(n / 8) + 1, 2 ^ (n % 8)
      if on then b[at] = bor(b[at], m) else b[at] = b[at] - band(b[at], m) end
    end
    for at = 1, 32 do if b[at] ~= 0 then any = true; break end end
    if any then
      call('HSET', BITS, k, char(unpack(b)))
      if not got[i] then call('ZADD', READY, 0, k) end
    elseif got[i] then
      call('HDEL', BITS, k)
      call('ZREM', READY, k)
    end
  end
  dbits, memo = {}, {}
end
local function flush()
  local args, specs = {}, {}
  for _, r in ipairs(dirtied) do
    if not gone[r.id] then
      local v = encode(r)
      args[#args + 1] = r.id
      args[#args + 1] = v
      if r.respec then specs[#specs + 1] = r.id; specs[#specs + 1] = r.spec; r.respec = nil end
    end
    if #args >= 4000 then call('HSET', TASKS, unpack(args)); args = {} end
    if #specs >= 4000 then call('HSET', SPECS, unpack(specs)); specs = {} end
  end
  if #args > 0 then call('HSET', TASKS, unpack(args)) end
  if #specs > 0 then call('HSET', SPECS, unpack(specs)) end
  dirty, dirtied = {}, {}
  flushbits()
  for k, d in pairs(dcount) do
    if d ~= 0 then call('HINCRBY', COUNTS, k, d) end
  end
  for k, d in pairs(dcell) do
    if d ~= 0 then
      local n = call('HINCRBY', CELLS, k, d)
      if n <= 0 then
        call('HDEL', CELLS, k)
        call('ZREM', INDEX, k)
        if byte(k) == 0 then call('HDEL', CHUNKS, (unstruct('>I6', k, 8))) end
      elseif n == d then
        call('ZADD', INDEX, 0, k)
      end
    end
  end
  for k, d in pairs(dwait) do
    if d ~= 0 then
      local n = call('HINCRBY', WAITING, k, d)
      if n <= 0 then call('HDEL', WAITING, k) elseif n == d then woken[(unstruct('>I3', k, 4))] = true end
    end
  end
  for k, d in pairs(dopen) do
    if d ~= 0 and call('HINCRBY', SESSIONS, k, d) <= 0 then
      call('HDEL', SESSIONS, k)
      call('ZREMRANGEBYLEX', GRANTS, '[' .. k, '[' .. k .. '\255')
    end
  end
  args = {}
  for id, at in pairs(dueadd) do args[#args + 1] = at; args[#args + 1] = id end
  if #args > 0 then call('ZADD', DUE, unpack(args)) end
  args = {}
  for id in pairs(duerem) do args[#args + 1] = id end
  if #args > 0 then call('ZREM', DUE, unpack(args)) end
  for at, ids in pairs(keep) do call('ZADD', PURGE, at, concat(ids)) end
  local bucket = floor(now / BUCKET)
  for k, d in pairs(dflow) do call('HINCRBY', FLOW, k .. bucket, d) end
  if #evs > 0 then
    local n = call('HINCRBY', META, 'ev', 1)
    call('XADD', EVENTS, n .. '-1', 'b', nowns .. concat(evs))
  end
  dcount, dcell, dwait, dopen, dueadd, duerem, keep, dflow, evs = {}, {}, {}, {}, {}, {}, {}, {}, {}
end

-- Chunks are numbered by time, in sixteenths of a millisecond since 1990: there
-- is room between two of them for what is imported later but was accepted before.
local function chunkof(ms) return min(max(floor((ms - 631152000000) * 16), 1), 2 ^ 45 - 1) end
-- forget removes what a record keeps outside of it.
local function forget(r)
  local fields = {}
  if has(r, F_HISTORY) then fields[1] = r.id .. 'h' end
  if has(r, F_PROGRESS) then fields[#fields + 1] = r.id .. 'p' end
  if has(r, F_STEPS) then
    local list, at = call('HGET', EXTRA, r.id .. 'n') or '', 1
    while at < #list do
      local l = unstruct('>H', list, at)
      fields[#fields + 1] = r.id .. 's' .. sub(list, at + 2, at + 1 + l)
      at = at + 2 + l
    end
    fields[#fields + 1] = r.id .. 'n'
  end
  if has(r, F_LOGS) then
    local first, last = unstruct('>I4I4', call('HGET', EXTRA, r.id .. 'l'))
    for i = first, last do fields[#fields + 1] = r.id .. 'L' .. i end
    fields[#fields + 1] = r.id .. 'l'
  end
  for i = 1, #fields, 4000 do call('HDEL', EXTRA, unpack(fields, i, min(i + 3999, #fields))) end
  clear(r, F_HISTORY + F_PROGRESS + F_STEPS + F_LOGS)
end
-- extras lists what records keep outside of them: id, kind, data in turn; kind
-- h, p, L, or s and the name of a step. all: not only the progress.
local function extras(vals, all)
  local out = {}
  local function add(id, kind, field)
    local v = call('HGET', EXTRA, id .. field)
    if v then out[#out + 1] = id; out[#out + 1] = kind; out[#out + 1] = v end
  end
  for i = 2, #vals, 3 do
    local r = {id = vals[i - 1], fl = unstruct('>H', vals[i], 2)}
    if has(r, F_PROGRESS) then add(r.id, 'p', 'p') end
    if all then
      if has(r, F_HISTORY) then add(r.id, 'h', 'h') end
      if has(r, F_STEPS) then
        local list, at = call('HGET', EXTRA, r.id .. 'n') or '', 1
        while at < #list do
          local l = unstruct('>H', list, at)
          local kind = 's' .. sub(list, at + 2, at + 1 + l)
          add(r.id, kind, kind)
          at = at + 2 + l
        end
      end
      if has(r, F_LOGS) then
        local first, last = unstruct('>I4I4', call('HGET', EXTRA, r.id .. 'l'))
        for n = first, last do add(r.id, 'L', 'L' .. n) end
      end
    end
  end
  return out
end
-- over says whether an ended task's retention has passed.
local function finished(r) return r.fin ~= '' and unstruct('>I8', r.fin) / 1000000 or 0 end
local function over(r) return r.st >= SUCCEEDED and finished(r) + retention(r) <= unstruct('>I8', nowns) / 1000000 end

-- wake leaves one token in a type's list; a blocked node takes it.
local function wake(list)
  if call('LLEN', list) == 0 then call('RPUSH', list, '1') end
end

-- numbered runs a call once per number of its lane and repeats the stored reply.
local function numbered(run, expand)
  local lane = ARGV[1]
  if lane == '' then return expand(run()) end
  local n, had, stored = tonumber(ARGV[2]), call('HGET', LANES, ARGV[1]), 0
  if had then
    stored = unstruct('>I6', had)
    if stored == n and sub(had, 15, 22) == ARGV[3] then return expand(sub(had, 23)) end
  end
  if stored + 1 ~= n then return {'!gap', tostring(stored), had and sub(had, 15, 22) or ''} end
  local compact = run()
  -- A call that found nothing to do does not use its number up: '-' says so.
  if sub(compact, 1, 1) ~= '-' then call('HSET', LANES, lane, pack('>I6I8', n, now) .. ARGV[3] .. compact) end
  return expand(compact)
end
local function plain(compact) return {compact} end
-- values reads records for a reply: their names, then id, record and spec in turn.
local function values(ids)
  local out = {}
  if #ids == 0 then return {}, out end
  local got, recs, specs = (read(ids)), {}, call('HMGET', SPECS, unpack(ids))
  for i, v in ipairs(got) do
    if v then
      local q, t = unstruct('>I3I3', v, 4)
      recs[#recs + 1] = {q = q, t = t}
      out[#out + 1] = ids[i]
      out[#out + 1] = v
      out[#out + 1] = specs[i]
    end
  end
  return named(recs), out
end
