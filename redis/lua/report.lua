-- What work.lua needs when something is not as usual: a report that is no first
-- success, a checkpoint, a task that is due, a repeat. Returns these functions.
local RETRY, FAIL, SNOOZE, CANCEL = 2, 3, 4, 5
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
  local claim, outcome, att, fl = unstruct('>I4BI4B', a, 9)
  local lease = sub(a, 1, 8)
  local verdict, same = fence(r, lease, claim)
  if verdict == 'r' then
    if r.settled == outcome then return 'r' .. r.st end
    return 's0'
  end
  if verdict ~= 'o' then return 's0' end
  local at = sub(a, 19, 26)
  local o = byte(a, 27) + 1
  local sn = sub(a, 31, o - 1)
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
  if outcome == 1 then st, kind = SUCCEEDED, E_SUCCEEDED
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
  if kind == 4 then
    set(r, F_REPEAT)
    return 'o'
  end
  if kind == 2 then
    call('HSET', EXTRA, r.id .. 'p', data)
    set(r, F_PROGRESS)
    event(E_PROGRESS, r)
    return 'o'
  end
  local first, last, n = 0, 0, 0
  if has(r, F_LOGS) then first, last, n = loglines(r) end
  if last < first then last = first end
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

-- ripen makes due tasks ready, and running ones that nobody answers for.
local function ripen()
  local ids = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 128)
  for i, r in ipairs(load(ids)) do
    if r and r.st == SCHEDULED then
      tally(r, -1)
      move(r, QUEUED, E_QUEUED)
    elseif r and r.st == RUNNING and (sub(r.run, 9, 30) == NOBODY or call('HEXISTS', SESSIONS, sub(r.run, 9, 24)) == 0) then
      giveback(r, 7)
    else
      call('ZREM', DUE, ids[i])
    end
  end
  flush()
end

-- stepsof lists the steps of records: id, name, data in turn.
local function stepsof(vals)
  local steps = {}
  for i = 2, #vals, 3 do
    local id = vals[i - 1]
    if band(unstruct('>H', vals[i], 2), F_STEPS) ~= 0 then
      local list, at = call('HGET', EXTRA, id .. 'n') or '', 1
      while at < #list do
        local l = unstruct('>H', list, at)
        local name = sub(list, at + 2, at + 1 + l)
        steps[#steps + 1] = id
        steps[#steps + 1] = name
        steps[#steps + 1] = call('HGET', EXTRA, id .. 's' .. name)
        at = at + 2 + l
      end
    end
  end
  return steps
end
return {load = load, report = report, checkpoint = checkpoint, ripen = ripen, stepsof = stepsof, extras = extras, values = values}
