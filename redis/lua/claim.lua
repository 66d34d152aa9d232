-- How work.lua hands out tasks.
local FRESH = {att = 1, ver = 2} -- the first start of a task
-- Of more tasks than a few, the caller reads itself what those were asked for that need
-- not be looked at: a script that passes texts on costs more than all else that it does.
local FEW, UNREAD = 16, ''

-- promote makes due tasks ready. It returns in how many ms the next is due.
local function promote()
  local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  if not head[2] then return math.huge end
  if tonumber(head[2]) > now then return tonumber(head[2]) - now end
  flushhot()
  if not sound() then return math.huge end
  unusual().ripen()
  head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return head[2] and max(1, tonumber(head[2]) - now) or math.huge
end

-- A stream yields the ready tasks of one queue and type: by priority, then in
-- order of acceptance. Its stretch is what is ready in one chunk. It is read a block at a
-- time; one of which all tasks are ready, and none is to be looked at, is whole: mostly it
-- is taken as one.
local BITSOF = {}
local function bitsof(v)
  local list = {}
  for i = 0, 7 do
    if floor(v / 2 ^ i) % 2 == 1 then list[#list + 1] = i end
  end
  BITSOF[v] = list
  return list
end
-- unfold lists the tasks of a block that are ready.
local function unfold(c)
  local b, list, n = c.bits, {}, 0
  for at = c.block * 4 - 3, min(c.block * 4, #b) do
    local v = byte(b, at)
    if v > 0 then
      local seq, bits = c.stretch.first + (at - 1) * 8, BITSOF[v] or bitsof(v)
      for i = 1, #bits do list[n + i] = seq + bits[i] end
      n = n + #bits
    end
  end
  c.list, c.i, c.seq, c.whole = list, 1, list[1], nil
end
local function advance(c)
  while true do
    if c.i < #c.list then
      c.i = c.i + 1
      c.seq = c.list[c.i]
      return
    end
    c.block = c.block + 1
    local word = sub(c.bits, c.block * 4 - 3, min(c.block * 4, 32))
    if word == '\255\255\255\255' and (#c.bits == 32 or sub(c.bits, c.block * 4 + 29, c.block * 4 + 32) == '\0\0\0\0') then
      c.whole, c.seq, c.list, c.i = true, c.stretch.first + c.block * 32 - 32, {}, 0
      return
    elseif word ~= '' then
      if word ~= '\0\0\0\0' then unfold(c); return end
    else
      c.m = c.m + 1
      if c.m > #c.members then
        c.members = call('ZRANGEBYLEX', READY, c.from, '[' .. c.prefix .. '\255', 'LIMIT', 0, 4)
        c.m = 1
        if #c.members == 0 then c.done = true; return end
        c.from = '(' .. c.members[#c.members]
      end
      local member = c.members[c.m]
      local pr, chunk = unstruct('>BI6', member, 7)
      local b = call('HGET', BITS, member)
      if b then bitsread[member] = b else b = '' end
      c.stretch = {c = c, pr = pr, first = chunk * 256, place = c.prefix .. sub(member, 8), taken = 0, started = {}, look = #b > 32 and b or nil}
      c.pr, c.bits, c.block, c.list, c.i = pr, b, 0, {}, 0
    end
  end
end

local configs, lost = {}, false -- lost: somebody has deleted the settings, and with them what is paused
local function configsof(qs)
  local out, known = {}, true
  for i, q in ipairs(qs) do
    out[i] = configs[q]
    known = known and out[i] ~= nil
  end
  if known then return out end
  local n = #qs + 1
  qs[n] = ''
  out = call('HMGET', QUEUES, unpack(qs))
  lost, qs[n], out[n] = lost or not out[n], nil, nil
  for i, q in ipairs(qs) do configs[q] = out[i] end
  return out
end

local PERIOD = {1000, 60000, 3600000}
-- places returns how many more tasks each queue may start, the state of the
-- buckets, and in how many ms a rate lets the next start through.
local function places(qs)
  local left, buckets, wait = {}, {}, math.huge
  if #qs == 0 then return left, buckets, wait end
  local cfg = configsof(qs)
  local clock
  for i, q in ipairs(qs) do
    left[q] = lost and 0 or math.huge
    if cfg[i] then
      local paused, conc, count, per = unstruct('>BI4I4B', cfg[i])
      if paused == 1 then left[q] = 0
      else
        if conc > 0 then
          local k = pack('>BI3', RUNNING, q)
          left[q] = max(0, conc - tonumber(call('HGET', COUNTS, k) or 0) - (dcount[k] or 0))
        end
        if count > 0 then
          if not clock then clock = call('TIME'); clock = clock[1] * 1000 + floor(clock[2] / 1000) end
          local old = call('HGET', QUEUES, q .. 'b')
          local tokens, at = count, clock
          if old then tokens, at = string.match(old, '(%S+) (%S+)'); tokens, at = tonumber(tokens), tonumber(at) end
          tokens = min(count, tokens + max(0, clock - at) * count / PERIOD[per])
          buckets[q] = {tokens = tokens, at = clock, used = clock < at} -- a clock set back counts from there
          if tokens < 1 then wait = min(wait, math.ceil((1 - tokens) * PERIOD[per] / count)) end
          left[q] = min(left[q], floor(tokens))
        end
      end
    end
  end
  return left, buckets, wait
end

local function claim(base, alone)
  local session, seq, n, lease, sn = ARGV[base], tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), ARGV[base + 3], ARGV[base + 4]
  local cap, nq, nt = tonumber(ARGV[base + 5]), tonumber(ARGV[base + 6]), tonumber(ARGV[base + 7])
  if call('HEXISTS', SESSIONS, session) == 0 then
    flushhot()
    flush()
    return 'x'
  end
  local cancels = {}
  local told = call('HGETALL', CANCELS)
  for i = 1, #told, 2 do
    if told[i + 1] == session then
      cancels[#cancels + 1] = told[i]
      call('HSET', CANCELS, told[i], session .. '+')
    end
  end
  local due = ARGV[10] == '1' and promote() or math.huge
  local b = base + 8
  local waiting = call('HGETALL', WAITING)
  if #waiting <= 2 and #cancels == 0 and alone then
    return '-g' .. lease .. pack('>HHI6', 0, 0, due < math.huge and due or 0)
  end
  if not sound() then return nil end
  local qn, tn = numbers(nq, nt, b)
  local shares, serve = {}, {}
  for i = 1, nq do shares[i] = tonumber(ARGV[b + nq + nt + i - 1]) end
  for i, t in pairs(tn) do if t then serve[t] = i end end
  local want = {}
  for i, q in pairs(qn) do if q then want[q] = i end end

  local function listof(q, t)
    if nq == 0 then return KEYS[21 + serve[t]] end
    return KEYS[21 + (serve[t] - 1) * nq + want[q]]
  end
  local streams, of, qs = {}, {}, {}
  for i = 1, #waiting, 2 do
    local q, t = unstruct('>I3I3', waiting[i])
    if serve[t] and (nq == 0 or want[q]) then
      local c = {q = q, t = t, prefix = waiting[i], from = '[' .. waiting[i], members = {}, m = 0, bits = '', block = 0, list = {}, i = 0}
      streams[#streams + 1] = c
      if not of[q] then of[q] = {}; qs[#qs + 1] = q end
      table.insert(of[q], c)
    end
  end
  local left, buckets, wait = places(qs)
  local picks, from, whole, most, taken = {}, {}, {}, n, 0 -- whole: of those that are the first of a whole block
  if n > 0 then
    for _, c in ipairs(streams) do
      if left[c.q] > 0 then advance(c) end
    end
  end
  local function take(cs, share)
    while share > 0 and taken < most do
      local best = cs[1] -- mostly there is no other
      if best.done or left[best.q] <= 0 then best = nil end
      for i = 2, #cs do
        local c = cs[i]
        if not c.done and left[c.q] > 0 and (not best or c.pr < best.pr or c.pr == best.pr and c.seq < best.seq) then best = c end
      end
      if not best then return end
      local k, room = #picks + 1, left[best.q]
      picks[k], from[k] = best.seq, best.stretch
      if best.whole then
        if share >= 32 and most - taken >= 32 and room >= 32 and #cs == 1 then
          whole[k], best.whole = true, nil
          left[best.q], share, taken = room - 32, share - 32, taken + 32
          advance(best)
        else
          unfold(best)
        end
      end
      if not whole[k] then
        left[best.q], share, taken = room - 1, share - 1, taken + 1
        local at = best.i + 1
        if at <= #best.list then best.i, best.seq = at, best.list[at] else advance(best) end
      end
    end
  end
  if nq == 0 and #streams > 0 then take(streams, n) end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], shares[i]) end end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], n) end end

  local members, bytes, granted = {}, 0, 0
  handed = {}
  if #picks > 0 then
    local numbers, names, at, ids, again = {}, {}, {}, {}, {}
    for i, s in ipairs(picks) do
      local b = floor(s / 32)
      if not at[b] then
        local n = #numbers + 1
        numbers[n], at[b] = b, n
        names[n] = pack('>I6B', floor(b / 8), b % 8)
      end
      local look, n = from[i].look, s % 256
      if look and band(byte(look, 33 + floor(n / 8)), 2 ^ (n % 8)) ~= 0 then again[#again + 1] = i end
    end
    local lists = call('HMGET', CHUNKS, unpack(numbers))
    for i, s in ipairs(picks) do
      local b = floor(s / 32)
      local o = (s - b * 32) * 16
      ids[i] = sub(lists[at[b]] or '', o + 1, whole[i] and o + 512 or o + 16)
    end
    local records, masks, specs, list = {}, {}, nil, {}
    for k, i in ipairs(again) do list[k] = ids[i] end
    if #again > 0 then
      for k, v in ipairs(call('HMGET', TASKS, unpack(list))) do records[again[k]] = v end
    end
    if taken <= FEW then specs = call('HMGET', SPECS, unpack(ids))
    else
      specs = {}
      if #again > 0 then
        for k, v in ipairs(call('HMGET', SPECS, unpack(list))) do specs[again[k]] = v end
      end
      for i, id in ipairs(ids) do
        if specs[i] == nil then specs[i] = #id == (whole[i] and 512 or 16) and UNREAD end
      end
    end
    openblocks(names)
    local grant = session .. pack('>I6', seq)
    local run = lease .. grant .. sn
    local length, touched = #run, {}
    for i, spec in ipairs(specs) do
      local v, g, s = records[i], from[i], picks[i]
      local place = s - g.first
      if spec then
        local size = #(v or '') + #spec
        if bytes > 0 and bytes + size > cap then break end
        local id, k, f = ids[i], #members, nil
        if not v then -- not started yet
          if spec == UNREAD or byte(spec, -1) == place and sub(spec, -13, -2) == g.place then
            f, v = FRESH, ''
            local b = floor(s / 32)
            masks[b] = (masks[b] or 0) + (whole[i] and 4294967295 or 2 ^ (s - b * 32))
          end
        elseif byte(v, 1) == QUEUED and byte(v, 16) == place and sub(v, 4, 15) == g.place then
          local key = sub(v, 18, 38)
          f = starts[key]
          if not f then
            local life, ver, claim, att, fail, _, rl, el = unstruct('>HI4I4I4HBBI3', v, 18)
            f = {ver = ver + 1, att = att + 1, rest = 39 + rl, form = pack('>HI4I4I4HBBI3', life, ver + 1, claim + 1, att + 1, fail, 0, length, el)}
            starts[key] = f
          end
          local run_at = byte(v, 3) % 2 == 1 and 8 or 0 -- of a record from elsewhere
          v = '\4' .. sub(v, 2, 17) .. f.form .. sub(v, 39, 38 + run_at) .. run .. sub(v, f.rest + run_at)
          if byte(v, 2) + byte(v, 3) > 0 then flagged[#flagged + 1], flagged[#flagged + 2], flagged[#flagged + 3] = id, v, '' end
          local h = #hot
          hot[h + 1], hot[h + 2] = id, v
        end
        if f then
          bytes = bytes + size
          if g.taken == 0 then
            touched[#touched + 1] = g
            g.cell = cellof({st = QUEUED, q = g.c.q, t = g.c.t, pr = g.pr, seq = g.first})
          end
          local many = 1
          if whole[i] then
            many = 32
            g.cell.bits[256 + place / 32] = false
          else
            g.cell.bits[place] = false
          end
          g.taken, granted = g.taken + many, granted + many
          local e = g.started[f]
          if not e then e = {n = 0}; g.started[f] = e end
          e.n = e.n + many
          e[#e + 1] = id
          members[k + 1] = id
          if spec ~= UNREAD then
            local n = #handed
            handed[n + 1], handed[n + 2], handed[n + 3] = id, v, spec
          end
          local b = buckets[g.c.q]
          if b then b.tokens = b.tokens - many; b.used = true end
        end
      end
    end
    for b, mask in pairs(masks) do
      local entries = blocks[names[at[b]]]
      entries[#entries + 1] = {mask = mask, run = run, lease = lease, grant = grant}
      entries.changed = true
    end
    for _, g in ipairs(touched) do
      used[#used + 1] = g.c
      for f, ids in pairs(g.started) do
        evs[#evs + 1] = pack('>BI3I3BI4I4H', E_STARTED, g.c.t, g.c.q, RUNNING, f.att, f.ver, ids.n) .. concat(ids)
      end
      local running = groups[g.place] or groupof(g.place)
      running.n = running.n + g.taken
      bump(dwait, g.cell.wait, -g.taken)
    end
    swapall(QUEUED, RUNNING)
    if #members > 0 then
      bump(dopen, grant, granted)
      call('ZADD', GRANTS, 0, grant .. lease .. concat(members))
    end
  end
  for q, k in pairs(buckets) do
    if k.used then call('HSET', QUEUES, q .. 'b', string.format('%.6f %d', k.tokens, k.at)) end
  end
  flushhot()
  flush()
  local next = 0
  if #members == 0 then
    wait = min(wait, due)
    if wait < math.huge then next = wait end
  end
  if granted == n or granted < taken then
    for _, c in ipairs(streams) do
      if not c.done and left[c.q] > 0 then wake(listof(c.q, c.t)) end
    end
  end
  -- The sessions of the kind that this one is are taken care of.
  for k in pairs(woken) do
    local q, t = unstruct('>I3I3', k)
    if serve[t] and (nq == 0 or want[q]) then woken[k] = nq == 0 and 'q' or 't' end
  end
  return 'g' .. lease .. pack('>H', granted) .. concat(members) .. pack('>H', #cancels) .. concat(cancels) .. pack('>I6', next)
end
