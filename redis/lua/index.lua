-- Shared by scripts that take records apart, after common.lua: how one moves
-- between states.

local function touch(r)
  if not dirty[r.id] then dirty[r.id] = r; dirtied[#dirtied + 1] = r end
end
-- seats adds a record to the indexes that name its place, or takes it out.
local function seats(r, sign)
  local m, st = cellof(r), r.st
  dcell[m.cell] = (dcell[m.cell] or 0) + sign
  if st == QUEUED then
    m.bits[r.seq % 256] = sign > 0 and (r.plain or LOOK)
  elseif st == SCHEDULED and r.fail > 0 then
    bump(dcell, m.again, sign)
  end
  return m
end
local total, totalof = nil, -1
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
  evs[#evs + 1] = pack('>BI3I3BI4I4Hc16', kind, r.t, r.q, r.st, r.att, r.ver, 1, r.id)
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

-- loglines says which lines of its log a task has, and how many the last one holds:
-- none if somebody has deleted them.
local function loglines(r)
  local v = call('HGET', EXTRA, r.id .. 'l')
  if not v then return 0, -1, 0 end
  return unstruct('>I4I4H', v)
end
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
    local first, last = loglines(r)
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
        local first, last = loglines(r)
        for n = first, last do add(r.id, 'L', 'L' .. n) end
      end
    end
  end
  return out
end
-- over says whether an ended task's retention has passed.
local function finished(r) return r.fin ~= '' and unstruct('>I8', r.fin) / 1000000 or 0 end
local function over(r) return r.st >= SUCCEEDED and finished(r) + retention(r) <= unstruct('>I8', nowns) / 1000000 end

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
writerecords = function()
  local args, specs = {}, {}
  for _, r in ipairs(dirtied) do
    local first = firsts[r.id]
    if first then vacate(first[1], first[2]); firsts[r.id] = nil end
    if not gone[r.id] then
      local v = encode(r)
      args[#args + 1] = r.id
      args[#args + 1] = v
      if r.respec then specs[#specs + 1] = r.id; specs[#specs + 1] = r.spec; r.respec = nil end
    end
    if #args >= 4000 then call('HSET', TASKS, unpack(args)); args = {} end
    if #specs >= 4000 then call('HSET', SPECS, unpack(specs)); specs = {} end
  end
  flushblocks(args)
  if #args > 0 then call('HSET', TASKS, unpack(args)) end
  if #specs > 0 then call('HSET', SPECS, unpack(specs)) end
  dirty, dirtied = {}, {}
end
