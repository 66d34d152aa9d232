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
-- count notes in the indexes that n tasks have succeeded, whose ids follow each other.
local successes = 0
local function count(ids, n, place, grant, f)
  local g = groups[place] or groupof(place)
  g.n = g.n + n
  evs[#evs + 1] = pack('>BI3I3BI4I4H', E_SUCCEEDED, g.t, g.q, SUCCEEDED, f.att, f.ver, n) .. ids
  dopen[grant] = (dopen[grant] or 0) - n
  ended[#ended + 1] = ids
  successes = successes + n
end
-- finishblock records the first successes of tasks of one block that were handed out
-- together for the first time, and whose records the caller has sent; false: some of
-- them are not that any more.
local FIRST = {att = 1, ver = 3}
local function finishblock(head, ids)
  if next(loaded) then return false end
  local n, mask, lease, place = unstruct('>HI4c8c12', head)
  for _, e in ipairs(blocks[sub(head, 21)]) do
    if e.lease == lease and band(e.mask, mask) == band(mask, mask) then
      e.mask = e.mask - mask
      blocks[sub(head, 21)].changed = true
      count(ids, n, place, e.grant, FIRST)
      return true
    end
  end
  return false
end
-- finishfirst is finishblock of one task, by its record; nil: it is not that any more.
local function finishfirst(id, a, entries)
  local place = byte(a, 16) % 32
  local e, m = holder(entries, place)
  if not e or loaded[id] or e.lease ~= sub(a, 39, 46) then return nil end
  e.mask = e.mask - m
  entries.changed = true
  local n = #hot
  hot[n + 1], hot[n + 2] = id, a
  hotids[id] = true
  count(id, 1, sub(a, 4, 15), e.grant, FIRST)
  return 'o5'
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
  hotids[id] = true
  count(id, 1, sub(v, 4, 15), grant, f)
  return 'o5'
end
-- asreport is a first success as other reports come.
local function asreport(a)
  local rl = byte(a, 35)
  return sub(a, 39, 46) .. '\0\0\0\1\1\0\0\0\1\0\0\0\0\0\0\0\0\0' .. sub(a, 35, 38) .. sub(a, 69, 38 + rl) .. sub(a, 48 + rl)
end
-- finishblocks records ng of them, and returns the verdicts and, where the outcomes
-- stand that have to be looked at one by one, false.
local function finishblocks(ng, first)
  local names, out, from, at = {}, {}, nil, first + 2 * ng
  for i = 1, ng do names[i] = sub(ARGV[first + 2 * i - 2], 21) end
  openblocks(names)
  local function write()
    if from then call('HSET', TASKS, unpack(ARGV, from, at - 1)) end
    from = nil
  end
  for i = 1, ng do
    local head = ARGV[first + 2 * i - 2]
    local n = unstruct('>H', head)
    if finishblock(head, ARGV[first + 2 * i - 1]) then
      out[#out + 1] = string.rep('o5', n)
      from = from or at
    else
      write()
      for k = 1, n do out[#out + 1] = false end
    end
    at = at + 2 * n
  end
  write()
  return out
end
-- finish records the outcomes of tasks and returns what became of each, in order.
local NOSEAT = string.rep('\0', 16)
local function finish(nr, ng, first)
  ended = {}
  local out, at = ng > 0 and finishblocks(ng, first) or {}, first + 2 * ng
  local look, where, names, rest, restids, told, seats, records = {}, {}, {}, {}, {}, {}, {}, {}
  local n = 0
  for i, v in ipairs(out) do
    n = n + (v and #v / 2 or 1)
    if not v then look[#look + 1] = at + 2 * n - 2; where[#look] = i end
  end
  for k = n, nr - 1 do look[#look + 1] = at + 2 * k; where[#look] = #out + 1; out[#out + 1] = false end
  for i, k in ipairs(look) do
    local a = ARGV[k + 1]
    if byte(a) == SUCCEEDED then names[#names + 1] = sub(a, 10, 15) .. char(floor(byte(a, 16) / 32))
    else
      restids[#restids + 1] = ARGV[k]
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
    if e and e.lease == sub(ARGV[look[i] + 1], 18, 25) then seats[ARGV[look[i]]] = seat end
  end
  if #restids > 0 then records = call('HMGET', TASKS, unpack(restids)) end
  for i, k in ipairs(look) do
    local id, a, verdict = ARGV[k], ARGV[k + 1], nil
    if rest[i] then
      a = sub(a, 18)
      verdict = succeed(id, records[rest[i]], a)
    else
      verdict = finishfirst(id, a, blocks[sub(a, 10, 15) .. char(floor(byte(a, 16) / 32))])
      if not verdict then a = asreport(a) end
    end
    if not verdict then
      if hotids[id] then flushhot() end
      local u = unusual()
      verdict = u.report(u.load({id}, seats)[1], a)
    end
    out[where[i]] = verdict
  end
  if successes > 0 then
    bump(dflow, 's', successes)
    for _, g in ipairs(groups) do freed[g.q] = true end
    local k = keep[goes]
    if not k then k = {}; keep[goes] = k end
    k[#k + 1] = concat(ended)
    swapall(RUNNING, SUCCEEDED)
  end
  return concat(out)
end
