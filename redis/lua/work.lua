-- Records outcomes and checkpoints, then hands out tasks: one call, so that a
-- worker's finish of the last batch and its claim of the next cost one trip.
--
-- KEYS 22.. wake list of each type that the claim serves.
-- ARGV 8 reports, 9 checkpoints, 10 whether a claim follows (0, 1); then
--   a report: id 16, lease 8, claim 6, outcome 1, attempt 4, flags 1 (1 error,
--     2 result), due us 8, length 1 of started 8 + node, these, length 3 of the
--     end's front part, it, the result;
--   a checkpoint: id 16, lease 8, claim 6, kind 1, name length 2, name, data;
--   a claim: session, seq, n, n leases of 8 bytes, started 8 + node, bytes at
--     most, number of queues, of types, queue names, shares, type names.
-- Returns compact, names, records, steps, types to wake, extras. compact: a report's
-- letter (o recorded, r repeat, s stale, n unknown) and state digit, a
-- checkpoint's letter, then x for an unknown session or g, number of grants 2,
-- each id and lease, number of cancels 2, ids, ms until more may be ready 6. A
-- claim that found nothing answers with - in front.
local DONE, RETRY, FAIL, SNOOZE, CANCEL, RELEASE = 1, 2, 3, 4, 5, 6
local freed, handed, used = {}, nil, {} -- handed: id and record in turn, as handed out

-- The two changes that nearly every task goes through, start and success, are
-- made on the packed form: taking records apart costs most of a call.
local hot, hotids = {}, {}
local function write(id, v)
  hot[#hot + 1] = id
  hot[#hot + 1] = v
  hotids[id] = true
  loaded[id] = nil
end
local function flushhot()
  if #hot > 0 then call('HSET', TASKS, unpack(hot)) end
  hot, hotids = {}, {}
end
local was, is = {}, {}
-- swap moves one record between states in the indexes that both have.
local function swap(from, to, q, t, pr, seq)
  was.st, was.q, was.t, was.pr, was.seq = from, q, t, pr, seq
  is.st, is.q, is.t, is.pr, is.seq = to, q, t, pr, seq
  local a, b = cellof(was), cellof(is)
  dcell[a.cell] = (dcell[a.cell] or 0) - 1
  dcount[a.count] = (dcount[a.count] or 0) - 1
  if from == QUEUED then
    a.bits[seq % 256] = false
    dwait[a.wait] = (dwait[a.wait] or 0) - 1
  end
  dcell[b.cell] = (dcell[b.cell] or 0) + 1
  dcount[b.count] = (dcount[b.count] or 0) + 1
end
local goes = tonumber(ARGV[6]) -- how long a success stays
goes = math.ceil((now + max(goes, LINGER)) / BUCKET) * BUCKET
-- succeed records a first success of a task that has nothing unusual about it,
-- and returns the verdict; nil: report has to look at it.
local function succeed(id, v, a)
  if not v or loaded[id] or hotids[id] or byte(a, 31) ~= 1 then return nil end
  local st, fl, pr, q, t, seq = unstruct('>BHBI3I3I7', v)
  if st ~= RUNNING or fl ~= 0 or byte(v, 34) ~= 0 or sub(v, 39, 46) ~= sub(a, 17, 24) then return nil end
  local ver, claim, att = unstruct('>I4I4I4', v, 20)
  local theirs, _, ratt = unstruct('>I6BI4', a, 25)
  local g = sub(v, 47, 68)
  if claim ~= theirs or g == NOBODY then return nil end
  local rl, el = unstruct('>BI3', v, 35)
  local snl = byte(a, 45)
  local fin = nowns .. '\1' .. sub(a, 46 + snl) -- length of the front part, it, the result
  att = max(att, ratt)
  write(id, '\5' .. sub(v, 2, 19) .. pack('>I4I4I4', ver + 1, claim, att) .. sub(v, 32, 33) .. pack('>BBI3', 1, 30 + snl, #fin)
    .. sub(v, 39, 46) .. NOBODY .. sub(a, 46, 45 + snl) .. fin .. sub(v, 39 + rl + el))
  swap(RUNNING, SUCCEEDED, q, t, pr, seq)
  dopen[g] = (dopen[g] or 0) - 1
  bump(dflow, 's', 1)
  freed[q] = true
  local k = keep[goes]
  if not k then k = {}; keep[goes] = k end
  k[#k + 1] = id
  evs[#evs + 1] = pack('>Bc16I3I3BI4I4', E_SUCCEEDED, id, t, q, SUCCEEDED, att, ver + 1)
  return 'o5'
end

local function fence(r, lease, claim)
  local same = r.claim == claim and sub(r.run, 1, 8) == lease
  if has(r, F_DELETED) then return 's' end
  if same and r.settled ~= 0 then return 'r' end
  if r.st >= SUCCEEDED then return 's' end
  if same or r.claim < claim then return 'o', same end
  return 's'
end

local function report(r, a)
  if not r then return 'n0' end
  local claim, outcome, att, fl = unstruct('>I6BI4B', a, 25)
  local lease = sub(a, 17, 24)
  local verdict, same = fence(r, lease, claim)
  if verdict == 'r' then
    if r.settled == outcome then return 'r' .. r.st end
    return 's0'
  end
  if verdict ~= 'o' then return 's0' end
  local at = sub(a, 37, 44)
  local snl = byte(a, 45)
  local sn = sub(a, 46, 45 + snl)
  local o = 46 + snl
  local fl3 = unstruct('>I3', a, o)
  local front, result = sub(a, o + 3, o + 2 + fl3), sub(a, o + 3 + fl3)
  tally(r, -1)
  if r.st == RUNNING then
    freed[r.q] = true
    -- The hand-out that storage knows is another attempt, and lost.
    if not same and r.att ~= att then archive(r, nowns .. '\0', 7) end
  end
  r.claim, r.settled, r.att = claim, outcome, max(r.att, att)
  r.run = lease .. NOBODY .. sn
  if outcome == RETRY or outcome == FAIL then r.fail = r.fail + 1 end
  local st, kind = QUEUED, E_QUEUED
  if outcome == DONE then st, kind = SUCCEEDED, E_SUCCEEDED
  elseif outcome == FAIL then st, kind = FAILED, E_FAILED
  elseif outcome == CANCEL then st, kind = CANCELED, E_CANCELED
  elseif outcome == RETRY or outcome == SNOOZE then
    if unstruct('>I8', at) / 1000 > now then st, kind = SCHEDULED, E_SCHEDULED end
    if outcome == RETRY then kind = E_RETRYING end
  end
  if has(r, F_CANCEL) then st, kind = CANCELED, E_CANCELED end
  if st < SUCCEEDED then archive(r, front, outcome) end
  if st >= SUCCEEDED or fl ~= 0 then
    r.fin = nowns .. char(outcome) .. pack('>I3', #front) .. front .. result
  end
  if st == SUCCEEDED then bump(dflow, 's', 1)
  elseif st == FAILED then bump(dflow, 'f', 1)
  elseif st == CANCELED then bump(dflow, 'c', 1)
  elseif outcome == RETRY then bump(dflow, 'r', 1) end
  move(r, st, kind, at)
  return 'o' .. st
end

local LINES, KEPT = 50, 20 -- log lines of one field, and full fields kept
local function checkpoint(r, a)
  if not r then return 'n' end
  local claim, kind, nl = unstruct('>I6BH', a, 25)
  if fence(r, sub(a, 17, 24), claim) ~= 'o' then return 's' end
  local name, data = sub(a, 34, 33 + nl), sub(a, 34 + nl)
  if kind == 1 then
    if call('HSETNX', EXTRA, r.id .. 's' .. name, data) == 1 then
      local names = has(r, F_STEPS) and call('HGET', EXTRA, r.id .. 'n') or ''
      call('HSET', EXTRA, r.id .. 'n', names .. pack('>H', nl) .. name)
      set(r, F_STEPS)
      touch(r)
    end
    return 'o'
  end
  r.ver = r.ver + 1
  touch(r)
  if kind == 2 then
    call('HSET', EXTRA, r.id .. 'p', data)
    set(r, F_PROGRESS)
    event(E_PROGRESS, r)
    return 'o'
  end
  local first, last, n = 0, 0, 0
  if has(r, F_LOGS) then first, last, n = unstruct('>I4I4H', call('HGET', EXTRA, r.id .. 'l')) end
  if n == LINES then last, n = last + 1, 0 end
  local field = r.id .. 'L' .. last
  local old = n > 0 and call('HGET', EXTRA, field) or ''
  call('HSET', EXTRA, field, old .. pack('>I3', #data) .. data)
  if last - first > KEPT then
    call('HDEL', EXTRA, r.id .. 'L' .. first)
    first = first + 1
  end
  call('HSET', EXTRA, r.id .. 'l', pack('>I4I4H', first, last, n + 1))
  set(r, F_LOGS)
  event(E_LOG, r)
  return 'o'
end

-- promote makes due tasks ready, and running ones that nobody answers for. It
-- returns in how many ms the next is due.
local function promote()
  local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  if not head[2] then return math.huge end
  if tonumber(head[2]) > now then return tonumber(head[2]) - now end
  local ids = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 128)
  for i, r in ipairs(load(ids)) do
    if r and r.st == SCHEDULED then
      tally(r, -1)
      move(r, QUEUED, E_QUEUED)
    elseif r and r.st == RUNNING then
      giveback(r, 7)
    else
      call('ZREM', DUE, ids[i])
    end
  end
  flush()
  head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return head[2] and max(1, tonumber(head[2]) - now) or math.huge
end

-- A stream yields the ready tasks of one queue and type: by priority, then in
-- order of acceptance.
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
    local pr, chunk = unstruct('>BI6', c.members[c.m], 7)
    local b, list = call('HGET', BITS, c.members[c.m]) or '', {}
    for at = 1, #b do
      local v = byte(b, at)
      local seq = chunk * 256 + (at - 1) * 8
      while v > 0 do
        if v % 2 == 1 then list[#list + 1] = seq end
        v = floor(v / 2)
        seq = seq + 1
      end
    end
    c.pr, c.list, c.i = pr, list, 0
  end
end

local PERIOD = {1000, 60000, 3600000}
-- places returns how many more tasks each queue may start, the state of the
-- buckets, and in how many ms a rate lets the next start through.
local function places(qs)
  local left, buckets, wait = {}, {}, math.huge
  if #qs == 0 then return left, buckets, wait end
  local cfg = call('HMGET', QUEUES, unpack(qs))
  local clock
  for i, q in ipairs(qs) do
    left[q] = math.huge
    if cfg[i] then
      local paused, conc, count, per = unstruct('>BI4I4B', cfg[i])
      if paused == 1 then left[q] = 0
      else
        if conc > 0 then
          left[q] = max(0, conc - tonumber(call('HGET', COUNTS, pack('>BI3', RUNNING, q)) or 0))
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
  if call('HEXISTS', SESSIONS, session) == 0 then return 'x' end
  local cancels = {}
  local told = call('HGETALL', CANCELS)
  for i = 1, #told, 2 do
    if told[i + 1] == session then
      cancels[#cancels + 1] = told[i]
      call('HSET', CANCELS, told[i], session .. '+')
    end
  end
  local due = promote()
  local b = base + 8
  local waiting = call('HGETALL', WAITING)
  if #waiting == 0 and #cancels == 0 and base == 11 then
    return '-g' .. pack('>HHI6', 0, 0, due < math.huge and due or 0)
  end
  local qn, shares = numbers('q', b, b + nq - 1), {}
  for i = 1, nq do shares[i] = tonumber(ARGV[b + nq + i - 1]) end
  local tn, serve = numbers('t', b + 2 * nq, b + 2 * nq + nt - 1), {}
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
  local picks, most = {}, n
  if n > 0 then
    for _, c in ipairs(streams) do
      if left[c.q] > 0 then advance(c) end
    end
  end
  local function take(cs, share)
    while share > 0 and #picks < most do
      local best
      for _, c in ipairs(cs) do
        if not c.done and left[c.q] > 0 and (not best or c.pr < best.pr or c.pr == best.pr and c.seq < best.seq) then best = c end
      end
      if not best then return end
      picks[#picks + 1] = best.seq
      left[best.q] = left[best.q] - 1
      share = share - 1
      advance(best)
    end
  end
  if nq == 0 then take(streams, n) end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], shares[i]) end end
  for i = 1, nq do if qn[i] and of[qn[i]] then take(of[qn[i]], n) end end

  local grants, ids, bytes = {}, {}, 0
  handed = {}
  if #picks > 0 then
    local chunks = {}
    for i, s in ipairs(picks) do
      local k = floor(s / 256)
      if not chunks[k] then chunks[k] = call('HGET', CHUNKS, k) or '' end
      ids[i] = sub(chunks[k], s % 256 * 16 + 1, s % 256 * 16 + 16)
    end
    local raw, members, at = call('HMGET', TASKS, unpack(ids)), {}, session .. pack('>I6', seq)
    local tail, length = at .. sn, char(8 + #at + #sn)
    for i, v in ipairs(raw) do
      if v then
        if bytes > 0 and bytes + #v > cap then break end
        local st, _, pr, q, t, place = unstruct('>BHBI3I3I7', v)
        if st == QUEUED and place == picks[i] then
          bytes = bytes + #v
          local ver, claim, att = unstruct('>I4I4I4', v, 20)
          local id, lease = ids[i], sub(leases, #members * 8 + 1, #members * 8 + 8)
          v = '\4' .. sub(v, 2, 19) .. pack('>I4I4I4', ver + 1, claim + 1, att + 1) .. sub(v, 32, 33) .. '\0' .. length .. sub(v, 36, 38)
            .. lease .. tail .. sub(v, 39 + byte(v, 35))
          swap(QUEUED, RUNNING, q, t, pr, place)
          evs[#evs + 1] = pack('>Bc16I3I3BI4I4', E_STARTED, id, t, q, RUNNING, att + 1, ver + 1)
          write(id, v)
          members[#members + 1] = id
          handed[#handed + 1] = id
          handed[#handed + 1] = v
          used[q * 16777216 + t] = {q = q, t = t}
          grants[#grants + 1] = id .. lease
          local k = buckets[q]
          if k then k.tokens = k.tokens - 1; k.used = true end
        end
      end
    end
    if #members > 0 then bump(dopen, at, #members) end
    if #members > 0 then call('ZADD', GRANTS, 0, session .. pack('>I6', seq) .. concat(members)) end
  end
  for q, k in pairs(buckets) do
    if k.used then call('HSET', QUEUES, q .. 'b', string.format('%.6f %d', k.tokens, k.at)) end
  end
  flushhot()
  flush()
  local next = 0
  if #grants == 0 then
    wait = min(wait, due)
    if wait < math.huge then next = wait end
  end
  if #grants == n or #grants < #picks then
    for _, c in ipairs(streams) do
      if not c.done and left[c.q] > 0 then wake(KEYS[21 + serve[c.t]]) end
    end
  end
  for t in pairs(serve) do woken[t] = nil end
  return 'g' .. pack('>H', #grants) .. concat(grants) .. pack('>H', #cancels) .. concat(cancels) .. pack('>I6', next)
end

local function run()
  local nr, np = tonumber(ARGV[8]), tonumber(ARGV[9])
  local ids, out = {}, {}
  -- Checkpoints first: a handler makes them before it ends.
  for i = 1, np do ids[i] = sub(ARGV[10 + nr + i], 1, 16) end
  for i, r in ipairs(load(ids)) do out[nr + i] = checkpoint(r, ARGV[10 + nr + i]) end
  ids = {}
  for i = 1, nr do ids[i] = sub(ARGV[10 + i], 1, 16) end
  if nr > 0 then
    for i, v in ipairs(call('HMGET', TASKS, unpack(ids))) do
      local a = ARGV[10 + i]
      out[i] = succeed(ids[i], v, a)
      if not out[i] then
        if hotids[ids[i]] then flushhot() end
        out[i] = report(load({ids[i]})[1], a)
      end
    end
  end
  flushhot()
  flush()
  local qs = {}
  for q in pairs(freed) do qs[#qs + 1] = q end
  if #qs > 0 then
    local limited, any = {}, false
    for i, cfg in ipairs(call('HMGET', QUEUES, unpack(qs))) do
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
  if ARGV[10] == '1' then out[nr + np + 1] = claim(11 + nr + np) end
  return concat(out)
end
local function expand(compact)
  local nr, np = tonumber(ARGV[8]), tonumber(ARGV[9])
  if sub(compact, 1, 1) == '-' then return {compact, {}, {}, {}, typenames(woken), {}} end
  local o, steps = nr * 2 + np + 1, {}
  if sub(compact, o, o) ~= 'g' then return {compact, {}, {}, steps, typenames(woken), {}} end
  local n, ids, leases = unstruct('>H', compact, o + 1), {}, {}
  for i = 1, n do
    local at = o + 3 + (i - 1) * 24
    ids[i] = sub(compact, at, at + 15)
    leases[ids[i]] = sub(compact, at + 16, at + 23)
  end
  local names, vals
  if handed then
    local list = {}
    for _, r in pairs(used) do list[#list + 1] = r end
    names, vals = named(list), handed
  else -- a repeat: the records as they are now
    names, vals = values(ids)
  end
  for i = 2, #vals, 2 do
    local r = {id = vals[i - 1], fl = unstruct('>H', vals[i], 2)}
    if has(r, F_STEPS) then
      local list, at = call('HGET', EXTRA, r.id .. 'n') or '', 1
      while at < #list do
        local l = unstruct('>H', list, at)
        local name = sub(list, at + 2, at + 1 + l)
        steps[#steps + 1] = r.id
        steps[#steps + 1] = name
        steps[#steps + 1] = call('HGET', EXTRA, r.id .. 's' .. name)
        at = at + 2 + l
      end
    end
  end
  return {compact, names, vals, steps, typenames(woken), extras(vals, false)}
end
return numbered(run, expand)
