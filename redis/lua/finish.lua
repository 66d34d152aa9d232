-- How work.lua records outcomes; and what both of its halves change on the way.
local DONE = 1
local handed, used, flagged = nil, {}, {} -- handed: id, record and spec in turn, as handed out

-- The two changes that nearly every task goes through, start and success, are
-- made on the packed form: taking records apart costs most of a call. What the
-- tasks of a call share is worked out once: by bytes 4 to 15 of a record (queue,
-- type, chunk) what they do to the indexes, by bytes 18 to 38 what becomes of them.
local hot, hotids = {}, {}
local function flushhot()
  flushblocks(hot)
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
-- count notes in the indexes that a task has succeeded.
local function count(id, place, grant, f)
  local g = groups[place] or groupof(place)
  g.n = g.n + 1
  local e = g.events[f]
  if not e then e = pack('>I3I3BI4I4', g.t, g.q, SUCCEEDED, f.att, f.ver); g.events[f] = e end
  local n = #evs
  evs[n + 1], evs[n + 2], evs[n + 3] = '\7', id, e -- E_SUCCEEDED
  dopen[grant] = (dopen[grant] or 0) - 1
  ended[#ended + 1] = id
  hotids[id] = true
  return 'o5'
end
-- finishfirst records the first success of a task under way for the first time, whose
-- record the caller has sent; nil: it is not that any more.
local FIRST = {att = 1, ver = 3}
local function finishfirst(id, a, entries)
  local place = byte(a, 16) % 32
  local e, m = holder(entries, place)
  if not e or loaded[id] or e.lease ~= sub(a, 39, 46) then return nil end
  e.mask = e.mask - m
  entries.changed = true
  local n = #hot
  hot[n + 1], hot[n + 2] = id, a
  return count(id, sub(a, 4, 15), e.grant, FIRST)
end
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
  return count(id, sub(v, 4, 15), grant, f)
end
-- asreport is a first success as other reports come.
local function asreport(a)
  local rl = byte(a, 35)
  return sub(a, 39, 46) .. '\0\0\0\1\1\0\0\0\1\0\0\0\0\0\0\0\0\0' .. sub(a, 35, 38) .. sub(a, 69, 38 + rl) .. sub(a, 48 + rl)
end
-- finish records the outcomes of tasks, in order, and returns what became of each.
local NOSEAT = string.rep('\0', 16)
local function finish(nr)
  ended = {}
  local out, of, names, rest, restids, told, seats, records = {}, {}, {}, {}, {}, {}, {}, {}
  for i = 1, nr do
    local a = ARGV[10 + nr + i]
    if byte(a) == SUCCEEDED then
      local chunk, k = sub(a, 10, 15), floor(byte(a, 16) / 32)
      local c = of[chunk]
      if not c then c = {}; of[chunk] = c end
      if not c[k] then c[k] = chunk .. char(k); names[#names + 1] = c[k] end
    else
      restids[#restids + 1] = ARGV[10 + i]
      rest[i] = #restids
      local seat = sub(a, 2, 17)
      if seat ~= NOSEAT then
        told[i] = seat
        names[#names + 1] = (blockof(seat))
      end
    end
  end
  if #names > 0 then openblocks(names) end
  for i, seat in pairs(told) do -- it has not moved since
    local b, place = blockof(seat)
    local e = holder(blocks[b], place)
    if e and e.lease == sub(ARGV[10 + nr + i], 18, 25) then seats[ARGV[10 + i]] = seat end
  end
  if #restids > 0 then records = call('HMGET', TASKS, unpack(restids)) end
  for i = 1, nr do
    local id, a, verdict = ARGV[10 + i], ARGV[10 + nr + i], nil
    if rest[i] then
      a = sub(a, 18)
      verdict = succeed(id, records[rest[i]], a)
    else
      verdict = finishfirst(id, a, blocks[of[sub(a, 10, 15)][floor(byte(a, 16) / 32)]])
      if not verdict then a = asreport(a) end
    end
    if not verdict then
      if hotids[id] then flushhot() end
      local u = unusual()
      verdict = u.report(u.load({id}, seats)[1], a)
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
  return out
end
