-- Accepts tasks, in order. Idempotent by id and by unique key.
--
-- KEYS 23.. wake list of each type named, then of each type and queue that kinds have, in
-- their order.
-- ARGV 8 number of queue names, 9 of type names, 10 of kinds, then the names, then
-- the kinds: queue index 2, type index 2, priority 1, flags 2, due time in us 8
-- (if flagged); then the kind of each task, 1 byte each, and id and spec in turn.
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
local function readkinds()
  local q, t = numbers(nq, nt, 11, true)
  local kinds = {}
  for i = 1, nk do
    local a = ARGV[10 + nq + nt + i]
    local qi, ti, pr, fl = unstruct('>HHBH', a)
    local k = {q = q[qi], t = t[ti], pr = pr, fl = fl, at = sub(a, 8), chunk = -1, n = 0, ids = {}, ti = ti, wait = pack('>I3I3', q[qi], t[ti])}
    kinds[i] = k
  end
  return kinds, t
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
-- seat gives new tasks their seats, in the order they come in, and writes them.
-- It returns when the first of them is due. meta: next place and event.
local function seat(fresh, ids, kinds, meta)
  local early
  nextseq, lastev = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
  local chunk, n, specs, blocks = floor(nextseq / 256), nextseq % 256, {}, {}
  local list = n % 32 > 0 and call('HGET', CHUNKS, floor(nextseq / 32)) or ''
  local parts, begun = {list}, n
  if n == 0 then chunk = chunk - 1 end -- that one is full
  if n == 0 or #list ~= n % 32 * 16 then n, begun = 256, 256 end -- or has left
  for _, i in ipairs(fresh) do
    if n >= 256 then
      if n > begun then bump(dcell, pack('>BI3I3I6', 0, 0, 0, chunk), n - begun) end
      for _, k in ipairs(kinds) do fill(k) end
      chunk, parts, n, begun = max(chunk + 1, chunkof(now)), {}, 0, 0
      nextseq = chunk * 256
    end
    local id, k = ids[i], kinds[byte(kindof, i)]
    if k.chunk ~= chunk then k.chunk, k.seat = chunk, pack('>BHI3I3I6', k.pr, k.fl, k.q, k.t, chunk) end
    local spec = ARGV[first + 2 * i - 1]
    specs[#specs + 1] = id
    specs[#specs + 1] = spec .. k.seat .. char(n)
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
    n, nextseq = n + 1, nextseq + 1
    parts[#parts + 1] = id
    if n % 32 == 0 then
      blocks[#blocks + 1] = floor((nextseq - 1) / 32)
      blocks[#blocks + 1] = concat(parts)
      parts = {}
    end
  end
  if #parts > 0 then
    blocks[#blocks + 1] = floor(nextseq / 32)
    blocks[#blocks + 1] = concat(parts)
  end
  for _, k in ipairs(kinds) do fill(k) end
  bump(dcell, pack('>BI3I3I6', 0, 0, 0, chunk), n - begun)
  call('HSET', CHUNKS, unpack(blocks))
  call('HSET', SPECS, unpack(specs))
  return early
end
local function run()
  local kinds, t = readkinds()
  local ids, out, fresh, mine = idlist(), {}, {}, {}
  ids[#kindof + 1] = ''
  local had = call('HMGET', SPECS, unpack(ids))
  ids[#kindof + 1] = nil
  local meta = call('HMGET', META, 'next', 'ev', 'whole')
  -- One of them may have been here; and nobody knows which places are taken.
  if not had[#kindof + 1] or not meta[3] then return nil end
  for _, k in ipairs(kinds) do
    if band(k.fl, F_UNIQUE) ~= 0 and not call('HGET', UNIQUE, '') then return nil end
  end
  for i, id in ipairs(ids) do
    if had[i] or mine[id] then
      out[i] = 'e'
    else
      local fl, holder = kinds[byte(kindof, i)].fl, nil
      if band(fl, F_UNIQUE) ~= 0 then
        local key = unusual().uniquekey({fl = fl, spec = ARGV[first + 2 * i - 1]})
        holder = call('HGET', UNIQUE, key)
        if not holder then call('HSET', UNIQUE, key, id) end
      end
      if holder then
        out[i] = 'd' .. holder
      else
        out[i] = 'a'
        mine[id] = true
        fresh[#fresh + 1] = i
      end
    end
  end
  if #fresh == 0 then return concat(out) end
  local early = seat(fresh, ids, kinds, meta)
  bump(dflow, 'e', #fresh)
  if early then -- somebody may be waiting for a later one
    local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
    if not head[1] or tonumber(head[2]) > early then
      for _, k in ipairs(kinds) do woken[k.wait] = 'b' end
    end
  end
  flush()
  local n, seen = 22 + nt, {}
  for _, k in ipairs(kinds) do
    if not seen[k.wait] then
      n, seen[k.wait] = n + 1, true
      if woken[k.wait] then wake(KEYS[22 + k.ti]); wake(KEYS[n]) end
    end
  end
  return concat(out)
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
