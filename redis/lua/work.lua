-- Records outcomes and checkpoints, then hands out tasks: one call, so that a
-- worker's finish of the last batch and its claim of the next cost one trip.
--
-- KEYS 23.. wake list of each type that the claim serves.
-- ARGV 8 reports, 9 checkpoints, 10 whether a claim follows (0, 1; 2: of a node
--   whose clock makes nothing due); then
--   the ids of the reports, then a report each: lease 8, claim 4, outcome 1,
--     attempt 4, flags 1 (1 error, 2 result), due us 8, length 1 of the hand-out
--     and 3 of the end as a success stores them, started 8 + node, length 3 of
--     the end's front part, it, the result;
--   a checkpoint: id 16, lease 8, claim 6, kind 1, name length 2, name, data;
--   a claim: session, seq, n, n leases of 8 bytes, started 8 + node, bytes at
--     most, number of queues, of types, queue names, type names, shares.
-- Returns compact, names, records, steps, types to wake, extras. compact: a report's
-- letter (o recorded, r repeat, s stale, n unknown) and state digit, a
-- checkpoint's letter, then x for an unknown session or g, number of grants 2,
-- each id and lease, number of cancels 2, ids, ms until more may be ready 6. A
-- claim that found nothing answers with - in front.
local DONE = 1
local handed, used, flagged = nil, {}, {} -- handed: id, record and spec in turn, as handed out

-- The two changes that nearly every task goes through, start and success, are
-- made on the packed form: taking records apart costs most of a call. What the
-- tasks of a call share is worked out once: by bytes 4 to 15 of a record (queue,
-- type, chunk) what they do to the indexes, by bytes 18 to 38 what becomes of them.
local hot, hotids = {}, {}
local function flushhot()
  if #hot > 0 then call('HSET', TASKS, unpack(hot)) end
  hot, hotids = {}, {}
end
local groups, forms, starts = {}, {}, {}
local function groupof(place)
  local q, t = unstruct('>I3I3', place)
  local g = {q = q, t = t, place = place, n = 0, events = {}}
  groups[#groups + 1] = g
  groups[place] = g
  return g
end
-- swapall counts the tasks of the groups from one state to another.
local function swapall(from, to)
  for _, g in ipairs(groups) do
    bump(dcell, char(from) .. g.place, -g.n)
    bump(dcell, char(to) .. g.place, g.n)
    bump(dcount, pack('>BI3', from, g.q), -g.n)
    bump(dcount, pack('>BI3', to, g.q), g.n)
  end
  groups = {}
end
local function formof(v)
  local life, ver, claim, att, fail, settled = unstruct('>HI4I4I4HB', v, 18)
  return settled == 0 and {ver = ver + 1, claim = sub(v, 24, 27), att = att, ratt = sub(v, 28, 31),
    done = pack('>HI4I4I4HB', life, ver + 1, claim, att, fail, DONE)} or {}
end
local goes, ended = tonumber(ARGV[6]), nil -- how long a success stays
goes = math.ceil((now + max(goes, LINGER)) / BUCKET) * BUCKET
-- succeed records a first success of a task that has nothing unusual about it,
-- and returns the verdict; nil: report has to look at it.
local function succeed(id, v, a)
  if not v or loaded[id] or hotids[id] or byte(a, 13) ~= DONE or sub(v, 1, 3) ~= '\4\0\0' or sub(v, 39, 46) ~= sub(a, 1, 8) then
    return nil
  end
  local key = sub(v, 18, 38)
  local f = forms[key]
  if not f then f = formof(v); forms[key] = f end
  local grant = sub(v, 47, 68)
  if f.claim ~= sub(a, 9, 12) or f.ratt ~= sub(a, 14, 17) or grant == NOBODY then return nil end
  local sn = byte(a, 27)
  hot[#hot + 1] = id
  hot[#hot + 1] = '\5' .. sub(v, 2, 17) .. f.done .. sub(a, 27, 30) .. sub(a, 1, 8) .. NOBODY .. sub(a, 31, sn) .. nowns .. '\1' .. sub(a, sn + 1)
  hotids[id] = true
  local place = sub(v, 4, 15)
  local g = groups[place] or groupof(place)
  g.n = g.n + 1
  local e = g.events[f]
  if not e then e = pack('>I3I3BI4I4', g.t, g.q, SUCCEEDED, f.att, f.ver); g.events[f] = e end
  local n = #evs
  evs[n + 1], evs[n + 2], evs[n + 3] = '\7', id, e -- E_SUCCEEDED
  dopen[grant] = (dopen[grant] or 0) - 1
  ended[#ended + 1] = id
  return 'o5'
end

-- promote makes due tasks ready. It returns in how many ms the next is due.
local function promote()
  local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  if not head[2] then return math.huge end
  if tonumber(head[2]) > now then return tonumber(head[2]) - now end
  flushhot()
  unusual().ripen()
  head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return head[2] and max(1, tonumber(head[2]) - now) or math.huge
end

-- A stream yields the ready tasks of one queue and type: by priority, then in
-- order of acceptance. Its stretch is what is ready in one chunk.
local BITSOF = {}
local function bitsof(v)
  local list = {}
  for i = 0, 7 do
    if floor(v / 2 ^ i) % 2 == 1 then list[#list + 1] = i end
  end
  BITSOF[v] = list
  return list
end
local function advance(c)
  while true do
    if c.i < #c.list then
      c.i = c.i + 1
      c.seq = c.list[c.i]
      return
    end
    c.m = c.m + 1
    if c.m > #c.members then
      c.members = call('ZRANGEBYLEX', READY, c.from, '[' .. c.prefix .. '\255', 'LIMIT', 0, 4)
      c.m = 1
      if #c.members == 0 then c.done = true; return end
      c.from = '(' .. c.members[#c.members]
    end
    local member = c.members[c.m]
    local pr, chunk = unstruct('>BI6', member, 7)
    local b, list, n = call('HGET', BITS, member), {}, 0
    if b then bitsread[member] = b else b = '' end
    for at = 1, #b do
      local v = byte(b, at)
      if v > 0 then
        local seq, bits = chunk * 256 + (at - 1) * 8, BITSOF[v] or bitsof(v)
        for i = 1, #bits do list[n + i] = seq + bits[i] end
        n = n + #bits
      end
    end
    c.stretch = {c = c, pr = pr, first = chunk * 256, chunk = chunk, place = c.prefix .. sub(member, 8), taken = 0, events = {}}
    c.pr, c.list, c.i = pr, list, 0
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

local function claim(base)
  local session, seq, n, leases, sn = ARGV[base], tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), ARGV[base + 3], ARGV[base + 4]
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
  if #waiting <= 2 and #cancels == 0 and base == 11 then
    return '-g' .. pack('>HHI6', 0, 0, due < math.huge and due or 0)
  end
  local qn, tn = numbers(nq, nt, b)
  local shares, serve = {}, {}
  for i = 1, nq do shares[i] = tonumber(ARGV[b + nq + nt + i - 1]) end
  for i, t in pairs(tn) do if t then serve[t] = i end end
  local want = {}
  for _, q in pairs(qn) do if q then want[q] = true end end

  local streams, of, qs = {}, {}, {}
  for i = 1, #waiting, 2 do
    local q, t = unstruct('>I3I3', waiting[i])
    if serve[t] and (nq == 0 or want[q]) then
      local c = {q = q, t = t, prefix = waiting[i], from = '[' .. waiting[i], members = {}, m = 0, list = {}, i = 0}
      streams[#streams + 1] = c
      if not of[q] then of[q] = {}; qs[#qs + 1] = q end
      table.insert(of[q], c)
    end
  end
  local left, buckets, wait = places(qs)
  local picks, from, most = {}, {}, n
  if n > 0 then
    for _, c in ipairs(streams) do
      if left[c.q] > 0 then advance(c) end
    end
  end
  local function take(cs, share)
    while share > 0 and #picks < most do
      local best = cs[1] -- mostly there is no other
      if best.done or left[best.q] <= 0 then best = nil end
      for i = 2, #cs do
        local c = cs[i]
        if not c.done and left[c.q] > 0 and (not best or c.pr < best.pr or c.pr == best.pr and c.seq < best.seq) then best = c end
      end
      if not best then return end
      local k = #picks + 1
      picks[k], from[k] = best.seq, best.stretch
      left[best.q] = left[best.q] - 1
      share = share - 1
      local at = best.i + 1
      if at <= #best.list then best.i, best.seq = at, best.list[at] else advance(best) end
    end
  end
  if nq == 0 and #streams > 0 then take(streams, n) end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], shares[i]) end end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], n) end end

  local grants, members, bytes = {}, {}, 0
  handed = {}
  if #picks > 0 then
    local blocks, at, ids = {}, {}, {}
    for _, s in ipairs(picks) do
      local b = floor(s / 32)
      if not at[b] then blocks[#blocks + 1] = b; at[b] = #blocks end
    end
    local lists = call('HMGET', CHUNKS, unpack(blocks))
    for i, s in ipairs(picks) do
      local b = floor(s / 32)
      local o = (s - b * 32) * 16
      ids[i] = sub(lists[at[b]] or '', o + 1, o + 16)
    end
    ids[#ids + 1] = ''
    local raw, specs = call('HMGET', TASKS, unpack(ids)), call('HMGET', SPECS, unpack(ids))
    if not raw[#ids] then return nil end -- see onrecord
    raw[#ids] = nil
    at = session .. pack('>I6', seq)
    local tail, length, touched = at .. sn, 8 + #at + #sn, {}
    for i, v in ipairs(raw) do
      local spec, g, place = specs[i], from[i], picks[i] - from[i].first
      if spec then
        local size = #(v or '') + #spec
        if bytes > 0 and bytes + size > cap then break end
        local id, k, f = ids[i], #members, nil
        local lease = sub(leases, k * 8 + 1, k * 8 + 8)
        if not v then -- not started yet
          if byte(spec, -1) == place and sub(spec, -13, -2) == g.place then
            f = g.fresh
            if not f then
              f = {ver = 2, att = 1, form = pack('>BHI4I4I4HBBI3', g.pr, 1, 2, 1, 1, 0, 0, length, 0)}
              g.fresh = f
            end
            v = '\4' .. sub(spec, -15) .. f.form .. lease .. tail
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
          v = '\4' .. sub(v, 2, 17) .. f.form .. sub(v, 39, 38 + run_at) .. lease .. tail .. sub(v, f.rest + run_at)
          if byte(v, 2) + byte(v, 3) > 0 then flagged[#flagged + 1], flagged[#flagged + 2], flagged[#flagged + 3] = id, v, '' end
        end
        if f then
          bytes = bytes + size
          if g.taken == 0 then
            touched[#touched + 1] = g
            g.cell = cellof({st = QUEUED, q = g.c.q, t = g.c.t, pr = g.pr, seq = g.first})
          end
          g.taken = g.taken + 1
          g.cell.bits[place] = false
          local e = g.events[f]
          if not e then e = pack('>I3I3BI4I4', g.c.t, g.c.q, RUNNING, f.att, f.ver); g.events[f] = e end
          local x = #evs
          evs[x + 1], evs[x + 2], evs[x + 3] = '\3', id, e -- E_STARTED
          local h = #hot
          hot[h + 1], hot[h + 2] = id, v
          members[k + 1] = id
          handed[3 * k + 1], handed[3 * k + 2], handed[3 * k + 3] = id, v, spec
          grants[2 * k + 1], grants[2 * k + 2] = id, lease
          local b = buckets[g.c.q]
          if b then b.tokens = b.tokens - 1; b.used = true end
        end
      end
    end
    for _, g in ipairs(touched) do
      used[#used + 1] = g.c
      local running = groups[g.place] or groupof(g.place)
      running.n = running.n + g.taken
      bump(dwait, g.cell.wait, -g.taken)
    end
    swapall(QUEUED, RUNNING)
    if #members > 0 then
      bump(dopen, at, #members)
      call('ZADD', GRANTS, 0, at .. concat(members))
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
  if #members == n or #members < #picks then
    for _, c in ipairs(streams) do
      if not c.done and left[c.q] > 0 then wake(KEYS[22 + serve[c.t]]) end
    end
  end
  for t in pairs(serve) do woken[t] = nil end
  return 'g' .. pack('>H', #members) .. concat(grants) .. pack('>H', #cancels) .. concat(cancels) .. pack('>I6', next)
end

local function run()
  local nr, np = tonumber(ARGV[8]), tonumber(ARGV[9])
  local out, points = {}, 10 + 2 * nr
  if nr + np > 0 and not onrecord() then return nil end
  -- Checkpoints first: a handler makes them before it ends.
  local ids = {}
  for i = 1, np do ids[i] = sub(ARGV[points + i], 1, 16) end
  if np > 0 then
    local u = unusual()
    for i, r in ipairs(u.load(ids)) do out[nr + i] = u.checkpoint(r, ARGV[points + i]) end
  end
  if nr > 0 then
    ended = {}
    for i, v in ipairs(call('HMGET', TASKS, unpack(ARGV, 11, 10 + nr))) do
      local id, a = ARGV[10 + i], ARGV[10 + nr + i]
      local verdict = succeed(id, v, a)
      if not verdict then
        if hotids[id] then flushhot() end
        local u = unusual()
        verdict = u.report(u.load({id})[1], a)
      end
      out[i] = verdict
    end
    if #ended > 0 then
      bump(dflow, 's', #ended)
      for _, g in ipairs(groups) do freed[g.q] = true end
      local k = keep[goes]
      if not k then k = {}; keep[goes] = k end
      for _, id in ipairs(ended) do k[#k + 1] = id end
      swapall(RUNNING, SUCCEEDED)
    end
  end
  local claims = ARGV[10] ~= '0'
  if not claims or #dirtied > 0 then -- a claim sees what the records have become
    flushhot()
    flush()
  end
  local qs = {}
  for q in pairs(freed) do qs[#qs + 1] = q end
  if #qs > 0 then
    local limited, any = {}, false
    for i, cfg in ipairs(configsof(qs)) do
      if cfg and unstruct('>I4', cfg, 2) > 0 then limited[qs[i]] = true; any = true end
    end
    if any then
      local waiting = call('HGETALL', WAITING)
      for i = 1, #waiting, 2 do
        local q, t = unstruct('>I3I3', waiting[i])
        if limited[q] then woken[t] = true end
      end
    end
  end
  if claims then
    local granted = claim(11 + 2 * nr + np)
    if not granted then return nil end -- nothing was reported, or the records were there
    out[nr + np + 1] = granted
  end
  return concat(out)
end
local function expand(compact)
  local nr, np = tonumber(ARGV[8]), tonumber(ARGV[9])
  if sub(compact, 1, 1) == '-' then return {compact, {}, {}, {}, typenames(woken), {}} end
  local o = nr * 2 + np + 1
  if sub(compact, o, o) ~= 'g' then return {compact, {}, {}, {}, typenames(woken), {}} end
  local names, vals
  if handed then
    names, vals = named(used), handed
  else -- a repeat: the records as they are now
    local ids = {}
    for i = 1, unstruct('>H', compact, o + 1) do
      local at = o + 3 + (i - 1) * 24
      ids[i] = sub(compact, at, at + 15)
    end
    names, vals = unusual().values(ids)
    flagged = vals
  end
  if #flagged == 0 then return {compact, names, vals, {}, typenames(woken), {}} end
  return {compact, names, vals, unusual().stepsof(flagged), typenames(woken), unusual().extras(flagged, false)}
end
return numbered(run, expand)
