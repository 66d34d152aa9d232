-- Accepts tasks, in order. Idempotent by id and by unique key.
--
-- KEYS 22.. wake list of each type named, then of each type and queue that kinds have, in
-- their order.
-- ARGV 8 number of queue names, 9 of type names, 10 of kinds, then the names, then
-- the kinds: queue index 2, type index 2, priority 1, flags 2, due time in us 8
-- (if flagged); then the kind of each task, 1 byte each, and id and spec in turn. No id
-- comes twice.
-- Returns compact, names, records, extras; compact: one letter a task, a added, e id known (its
-- record follows), d key held (16 bytes of holder follow, its record too).
local nq, nt, nk = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local kindof = ARGV[11 + nq + nt + nk]
local first = 12 + nq + nt + nk
local function idlist()
  local ids = {}
  for i = 1, #kindof do ids[i] = ARGV[first + 2 * i - 2] end
  return ids
end
-- readkinds takes the names from what meta says, if it knows them all.
local function readkinds(meta)
  local q, t, known = {}, {}, true
  for i = 1, nq + nt do
    local n = tonumber(meta[3 + i] or nil)
    known = known and n
    if i <= nq then q[i] = n else t[i - nq] = n end
  end
  if not known then q, t = numbers(nq, nt, 11, true) end
  local kinds = {}
  for i = 1, nk do
    local a = ARGV[10 + nq + nt + i]
    local qi, ti, pr, fl = unstruct('>HHBH', a)
    local k = {q = q[qi], t = t[ti], pr = pr, fl = fl, at = sub(a, 8), chunk = -1, n = 0, ids = {}, ti = ti, wait = pack('>I3I3', q[qi], t[ti])}
    kinds[i] = k
  end
  return kinds
end
-- fill counts the tasks that a kind has in a chunk.
local function fill(k)
  local m, n = k.cell, k.n
  if n > 0 then
    bump(dcell, m.cell, n)
    bump(dcount, m.count, n)
    bump(dwait, m.wait, n)
    evs[#evs + 1] = pack('>BI3I3BI4I4H', E_QUEUED, k.t, k.q, QUEUED, 0, 1, n) .. concat(k.ids)
  end
  k.n, k.ids, k.chunk = 0, {}, -1
end
-- seat gives new tasks their seats, in the order they come in, and writes them. fresh are
-- their places in the call; nil: all. It returns when the first of them is due. meta: next
-- place and event.
local function seat(fresh, ids, kinds, meta)
  local early
  nextseq, lastev = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
  local chunk, n, specs, blocks, fields = floor(nextseq / 256), nextseq % 256, {}, {}, 0
  local list = n % 32 > 0 and call('HGET', CHUNKS, floor(nextseq / 32)) or ''
  local parts, held, begun = {list}, 1, n
  if n == 0 then chunk = chunk - 1 end -- that one is full
  if n == 0 or #list ~= n % 32 * 16 then n, begun = 256, 256 end -- or has left
  for at = 1, #(fresh or ids) do
    local i = fresh and fresh[at] or at
    if n >= 256 then
      if n > begun then bump(dcell, pack('>BI3I3I6', 0, 0, 0, chunk), n - begun) end
      for _, k in ipairs(kinds) do fill(k) end
      chunk, parts, held, n, begun = max(chunk + 1, chunkof(now)), {}, 0, 0, 0
      nextseq = chunk * 256
    end
    local id, k = ids[i], kinds[byte(kindof, i)]
    if k.chunk ~= chunk then k.chunk, k.seat = chunk, pack('>BHI3I3I6', k.pr, k.fl, k.q, k.t, chunk) end
    local spec = ARGV[first + 2 * i - 1]
    specs[fields + 1], specs[fields + 2] = id, spec .. k.seat .. char(n)
    fields = fields + 2
    if k.at == '' then
      if k.n == 0 then
        k.cell = cellof({st = QUEUED, q = k.q, t = k.t, pr = k.pr, seq = chunk * 256})
      end
      k.n = k.n + 1
      k.cell.bits[n] = #spec > SMALL and LOOK or true
      k.ids[k.n] = id
    else
      local r = {id = id, st = SCHEDULED, fl = k.fl, pr = k.pr, q = k.q, t = k.t, seq = chunk * 256 + n, life = 1, ver = 1,
        claim = 0, att = 0, fail = 0, settled = 0, at = k.at, run = '', fin = ''}
      early = min(early or math.huge, unstruct('>I8', k.at) / 1000)
      unusual().scheduled(r)
    end
    n, nextseq, held = n + 1, nextseq + 1, held + 1
    parts[held] = id
    if n % 32 == 0 then
      blocks[#blocks + 1] = floor((nextseq - 1) / 32)
      blocks[#blocks + 1] = concat(parts)
      parts, held = {}, 0
    end
  end
  if held > 0 then
    blocks[#blocks + 1] = floor(nextseq / 32)
    blocks[#blocks + 1] = concat(parts)
  end
  for _, k in ipairs(kinds) do fill(k) end
  bump(dcell, pack('>BI3I3I6', 0, 0, 0, chunk), n - begun)
  call('HSET', CHUNKS, unpack(blocks))
  call('HSET', SPECS, unpack(specs))
  return early
end
-- sift says what becomes of each task, and which are new, where some may be there already.
local function sift(ids, had, kinds)
  local out, fresh = {}, {}
  for i, id in ipairs(ids) do
    if had[i] then
      out[i] = 'e'
    else
      local fl, holder = kinds[byte(kindof, i)].fl, nil
      if band(fl, F_UNIQUE) ~= 0 then
        local key = unusual().uniquekey({fl = fl, spec = ARGV[first + 2 * i - 1]})
        holder = call('HGET', UNIQUE, key)
        if not holder then call('HSET', UNIQUE, key, id) end
      end
      out[i] = holder and 'd' .. holder or 'a'
      if not holder then fresh[#fresh + 1] = i end
    end
  end
  return concat(out), fresh
end
local function run()
  local fields = {'next', 'ev', 'whole'}
  for i = 1, nq + nt do fields[3 + i] = (i <= nq and 'nq' or 'nt') .. ARGV[10 + i] end
  local meta, ids, usual = call('HMGET', META, unpack(fields)), idlist(), true
  local tasks = #ids
  ids[tasks + 1] = ''
  local had = call('HMGET', SPECS, unpack(ids))
  ids[tasks + 1] = nil
  -- One of them may have been here; and nobody knows which places are taken.
  if not had[tasks + 1] or not meta[3] then return nil end
  local kinds = readkinds(meta)
  for _, k in ipairs(kinds) do
    if band(k.fl, F_UNIQUE) ~= 0 then
      if not call('HGET', UNIQUE, '') then return nil end
      usual = false
    end
  end
  for i = 1, tasks do
    if had[i] then usual = false; break end
  end
  local compact, fresh
  if usual then compact = string.rep('a', tasks) else compact, fresh = sift(ids, had, kinds) end
  if fresh and #fresh == 0 then return compact end
  local early = seat(fresh, ids, kinds, meta)
  bump(dflow, 'e', #(fresh or ids))
  if early then -- somebody may be waiting for a later one
    local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
    if not head[1] or tonumber(head[2]) > early then
      for _, k in ipairs(kinds) do woken[k.wait] = 'b' end
    end
  end
  flush()
  local n, seen = 21 + nt, {}
  for _, k in ipairs(kinds) do
    if not seen[k.wait] then
      n, seen[k.wait] = n + 1, true
      if woken[k.wait] then wake(KEYS[21 + k.ti]); wake(KEYS[n]) end
    end
  end
  return compact
end
local function expand(compact)
  if #compact == #kindof and not string.find(compact, 'e', 1, true) then return {compact, {}, {}, {}} end -- all added
  local at, ids = 1, {}
  for i, id in ipairs(idlist()) do
    local c = sub(compact, at, at)
    if c == 'e' then ids[#ids + 1] = id end
    if c == 'd' then ids[#ids + 1] = sub(compact, at + 1, at + 16); at = at + 16 end
    at = at + 1
  end
  local names, vals = unusual().values(ids)
  return {compact, names, vals, unusual().extras(vals, false)}
end
return numbered(run, expand)
