-- Shared by every script, after base.lua: names, the indexes that tasks are counted
-- in, and what every script writes.
local function bump(t, k, n) t[k] = (t[k] or 0) + n end

-- cellof returns the index keys of a record's place and state; those of the last
-- one are kept, because tasks of a batch mostly share them.
local memo = {}
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
local function flushbits()
  local keys = {}
  for k in pairs(dbits) do keys[#keys + 1] = k end
  if #keys == 0 then return end
  local got, unread = {}, false
  for i, k in ipairs(keys) do
    got[i] = bitsread[k] or false
    unread = unread or not got[i]
  end
  if unread then got = call('HMGET', BITS, unpack(keys)) end
  bitsread = {}
  for i, k in ipairs(keys) do
    local b, any, length = {byte(got[i] or string.rep('\0', 32), 1, 64)}, false, 32
    for n, on in pairs(dbits[k]) do
      if n >= 256 then -- a whole block, none of it to be looked at
        local v = on and 255 or 0
        for at = (n - 256) * 4 + 1, (n - 256) * 4 + 4 do b[at] = v end
      end
    end
    for n, on in pairs(dbits[k]) do
      if n < 256 then
        local at, m = floor(n / 8) + 1, 2 ^ (n % 8)
        if on then b[at] = bor(b[at], m) else b[at] = b[at] - band(b[at], m) end
        if on == LOOK or #b > 32 then
          if #b == 32 then for o = 33, 64 do b[o] = 0 end end
          at = at + 32
          if on == LOOK then b[at] = bor(b[at], m) else b[at] = b[at] - band(b[at], m) end
        end
      end
    end
    for at = 1, 32 do if b[at] ~= 0 then any = true; break end end
    for at = 33, #b do if b[at] ~= 0 then length = 64; break end end
    if any then
      call('HSET', BITS, k, char(unpack(b, 1, length)))
      if not got[i] then call('ZADD', READY, 0, k) end
    elseif got[i] then
      call('HDEL', BITS, k)
      call('ZREM', READY, k)
    end
  end
  dbits, memo = {}, {}
end
-- Ids are kept in blocks of 32, so that a call that seats a few tasks does not
-- write those of a whole chunk anew.
local function blocksof(chunk)
  local b = chunk * 8
  return {b, b + 1, b + 2, b + 3, b + 4, b + 5, b + 6, b + 7}
end
local function idsof(chunk)
  local got = call('HMGET', CHUNKS, unpack(blocksof(chunk)))
  for i = 1, 8 do got[i] = got[i] or '' end
  return concat(got)
end
-- add changes numbers of a hash and returns the fields that have become 0, which
-- are removed unless they are to stay, and those that were.
local function add(key, deltas, stay)
  local fields, gone, new = {}, {}, {}
  for k, d in pairs(deltas) do
    if d ~= 0 then fields[#fields + 1] = k end
  end
  for first = 1, #fields, 2000 do
    local last = min(first + 1999, #fields)
    local got, set = call('HMGET', key, unpack(fields, first, last)), {}
    for i = first, last do
      local k = fields[i]
      local v = (got[i - first + 1] or 0) + deltas[k]
      if v == deltas[k] then new[#new + 1] = k end
      if v > 0 or stay then set[#set + 1] = k; set[#set + 1] = v else gone[#gone + 1] = k end
    end
    if #set > 0 then call('HSET', key, unpack(set)) end
  end
  for first = 1, #gone, 4000 do call('HDEL', key, unpack(gone, first, min(first + 3999, #gone))) end
  return gone, new
end
local function flush()
  if #dirtied > 0 then writerecords() end
  flushbits()
  if next(dflow) then
    local bucket = string.format('%d', floor(now / BUCKET))
    for k, d in pairs(dflow) do dcount[k .. bucket] = d end
  end
  add(COUNTS, dcount, true)
  local gone, new = add(CELLS, dcell)
  if #gone > 0 then
    call('ZREM', INDEX, unpack(gone))
    for _, k in ipairs(gone) do
      if byte(k) == 0 then
        local chunk = sub(k, 8)
        call('HDEL', CHUNKS, unpack(blocksof(unstruct('>I6', chunk))))
        call('HDEL', TASKS, chunk .. '\0', chunk .. '\1', chunk .. '\2', chunk .. '\3', chunk .. '\4', chunk .. '\5', chunk .. '\6', chunk .. '\7')
      end
    end
  end
  if #new > 0 then
    local args = {}
    for i, k in ipairs(new) do args[2 * i - 1], args[2 * i] = 0, k end
    call('ZADD', INDEX, unpack(args))
  end
  gone, new = add(WAITING, dwait)
  for _, k in ipairs(new) do woken[k] = 'b' end
  for _, k in ipairs(add(SESSIONS, dopen)) do call('ZREMRANGEBYLEX', GRANTS, '[' .. k, '[' .. k .. '\255') end
  if next(dueadd) then
    local args = {}
    for id, at in pairs(dueadd) do args[#args + 1] = at; args[#args + 1] = id end
    call('ZADD', DUE, unpack(args))
  end
  if next(duerem) then
    local args = {}
    for id in pairs(duerem) do args[#args + 1] = id end
    call('ZREM', DUE, unpack(args))
  end
  for at, ids in pairs(keep) do call('ZADD', PURGE, at, concat(ids)) end
  if #evs > 0 then
    local n = lastev
    if n then
      n = n + 1
      call('HSET', META, 'ev', n, 'next', nextseq)
      lastev = nil
    else
      n = call('HINCRBY', META, 'ev', 1)
    end
    evs[1] = nowns .. evs[1] -- one long text less
    local added = redis.pcall('XADD', EVENTS, n .. '-1', 'b', concat(evs))
    -- Later ones are there already: somebody has deleted the count, and mending
    -- deletes them. What was written stands.
    if type(added) == 'table' and added.err and not string.find(added.err, 'equal or smaller', 1, true) then
      call('XADD', EVENTS, n .. '-1', 'b', concat(evs)) -- says so in its own words
    end
  end
  dcount, dcell, dwait, dopen, dueadd, duerem, keep, dflow, evs = {}, {}, {}, {}, {}, {}, {}, {}, {}
end

-- Chunks are numbered by time, in sixteenths of a millisecond since 1990: there
-- is room between two of them for what is imported later but was accepted before.
local function chunkof(ms) return min(max(floor((ms - 631152000000) * 16), 1), 2 ^ 45 - 1) end

-- Names of queues and types are stored once and numbered. numbers returns those
-- of nq queues and nt types that arguments name in this order, from first on;
-- false for a name not known, unless it is to be created.
local function numbers(nq, nt, first, create)
  local q, t, fields = {}, {}, {}
  for i = 1, nq + nt do fields[i] = (i <= nq and 'q' or 't') .. ARGV[first + i - 1] end
  if #fields == 0 then return q, t end
  local got = call('HMGET', NAMES, unpack(fields))
  for i, n in ipairs(got) do
    if not n and create then
      n = call('HGET', NAMES, fields[i]) -- named twice in this call
      if not n then
        local kind = sub(fields[i], 1, 1)
        local had = call('HMGET', META, 'n' .. fields[i], 'n#' .. kind)
        n = had[1]
        if not n then
          n = max(tonumber(had[2] or 0), tonumber(call('HGET', NAMES, '#' .. kind) or 0)) + 1
          call('HSET', META, 'n' .. fields[i], n, 'n#' .. kind, n)
          call('HSET', NAMES, '#' .. kind, n)
        end
        call('HSET', NAMES, fields[i], n, string.upper(kind) .. n, sub(fields[i], 2))
      end
    end
    n = n and tonumber(n) or false
    if i <= nq then q[i] = n else t[i - nq] = n end
  end
  return q, t
end
-- named lists number and name of every queue and type that the records use.
local function named(records)
  local seen, fields, out = {}, {}, {}
  for _, r in ipairs(records) do
    if r then
      local a, b = 'Q' .. r.q, 'T' .. r.t
      if not seen[a] then seen[a] = true; fields[#fields + 1] = a end
      if not seen[b] then seen[b] = true; fields[#fields + 1] = b end
    end
  end
  if #fields == 0 then return out end
  local got = call('HMGET', NAMES, unpack(fields))
  for i, f in ipairs(fields) do out[2 * i - 1] = f; out[2 * i] = got[i] or '?' end
  return out
end
-- linenames lists lines: the names of queue and type, and which lists, in turn.
local function linenames(lines)
  local fields, lists, out = {}, {}, {}
  for k, which in pairs(lines) do
    local q, t = unstruct('>I3I3', k)
    local n = #fields
    fields[n + 1], fields[n + 2], lists[n / 2 + 1] = 'Q' .. q, 'T' .. t, which
  end
  if #fields == 0 then return out end
  local got = call('HMGET', NAMES, unpack(fields))
  for i, which in ipairs(lists) do
    local n = #out
    out[n + 1], out[n + 2], out[n + 3] = got[2 * i - 1] or '', got[2 * i] or '', which
  end
  return out
end

-- wake leaves one token in a type's list; a blocked node takes it. Whatever else
-- somebody has put there goes: nothing is kept in it.
local function wake(list)
  local n = redis.pcall('LLEN', list)
  if type(n) == 'table' then call('DEL', list) end
  if n ~= 0 and type(n) ~= 'table' then return end
  call('RPUSH', list, '1')
end

-- sound says whether records are there. Without its record a task that has started
-- looks as if it had not: what is done to it then would make a wrong record of it.
local found
local function sound()
  if found == nil then found = call('HGET', TASKS, '') and true end
  return found
end
-- numbered runs a call once per number of its lane and repeats the stored reply. Only
-- one that is careful itself begins without a look whether records are there.
local function numbered(run, expand, careful)
  local lane = ARGV[1]
  if lane == '' then return expand(run()) end
  local got = call('HMGET', LANES, lane, '*')
  if not got[2] or sub(got[2], 1, 8) ~= sub(lane, 1, 8) then return {'!gap', '0', ''} end
  local n, had, stored = tonumber(ARGV[2]), got[1], 0
  if had then
    stored = unstruct('>I6', had)
    if stored == n and sub(had, 15, 22) == ARGV[3] then return expand(sub(had, 23)) end
  end
  if stored + 1 ~= n then return {'!gap', tostring(stored), had and sub(had, 15, 22) or ''} end
  if not careful and not sound() then return {'!gap', '0', ''} end
  local compact = run()
  if not compact then return {'!gap', '0', ''} end -- a key is gone that it depends on
  -- A call that found nothing to do does not use its number up: '-' says so.
  if sub(compact, 1, 1) ~= '-' then call('HSET', LANES, lane, pack('>I6I8', n, now) .. ARGV[3] .. compact) end
  return expand(compact)
end
local function plain(compact) return {compact} end
