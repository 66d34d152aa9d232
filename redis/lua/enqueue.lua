-- Accepts tasks, in order. Idempotent by id and by unique key.
--
-- KEYS 22.. wake list of each type named.
-- ARGV 8 number of queue names, 9 of type names, then the names, then one
-- argument a task: id 16, queue index 2, type index 2, priority 1, flags 2,
-- due time in us 8 (if flagged), unique key (if flagged: length 2, bytes is
-- found in the spec), spec.
-- Returns compact, names, records, extras; compact: one letter a task, a added, e id known (its
-- record follows), d key held (16 bytes of holder follow, its record too).
local function run()
  local nq, nt = tonumber(ARGV[8]), tonumber(ARGV[9])
  local q, t = numbers('q', 10, 9 + nq, true), numbers('t', 10 + nq, 9 + nq + nt, true)
  local first, out, fresh = 10 + nq + nt, {}, {}
  local ids = {}
  for i = first, #ARGV do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  local had, mine = load(ids), {}
  for i, id in ipairs(ids) do
    local a = ARGV[first + i - 1]
    if had[i] or mine[id] then
      out[i] = 'e'
    else
      local qi, ti, pr, fl = unstruct('>HHBH', a, 17)
      local o, at = 24, ''
      if fl % 2 == 1 then at = sub(a, 24, 31); o = 32 end
      local r = {id = id, st = at == '' and QUEUED or SCHEDULED, fl = fl, pr = pr, q = q[qi], t = t[ti], life = 1, ver = 1,
        claim = 0, att = 0, fail = 0, settled = 0, at = at, spec = sub(a, o), run = '', fin = ''}
      local holder
      if has(r, F_UNIQUE) then
        local k = uniquekey(r)
        holder = call('HGET', UNIQUE, k)
        if not holder then call('HSET', UNIQUE, k, id) end
      end
      if holder then
        out[i] = 'd' .. holder
      else
        out[i] = 'a'
        mine[id] = true
        fresh[#fresh + 1] = r
      end
    end
  end
  if #fresh > 0 then
    local early
    place(fresh)
    for _, r in ipairs(fresh) do
      if r.st == SCHEDULED then early = min(early or math.huge, unstruct('>I8', r.at) / 1000) end
      tally(r, 1)
      touch(r)
      event(r.st == QUEUED and E_QUEUED or E_SCHEDULED, r)
    end
    bump(dflow, 'e', #fresh)
    if early then -- somebody may be waiting for a later one
      local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
      if not head[1] or tonumber(head[2]) > early then for i = 1, nt do woken[t[i]] = true end end
    end
    flush()
    for i = 1, nt do
      if woken[t[i]] then wake(KEYS[21 + i]) end
    end
  end
  return concat(out)
end
local function expand(compact)
  local first, at, ids = 10 + tonumber(ARGV[8]) + tonumber(ARGV[9]), 1, {}
  for i = first, #ARGV do
    local c = sub(compact, at, at)
    if c == 'e' then ids[#ids + 1] = sub(ARGV[i], 1, 16) end
    if c == 'd' then ids[#ids + 1] = sub(compact, at + 1, at + 16); at = at + 16 end
    at = at + 1
  end
  local names, vals = values(ids)
  return {compact, names, vals, extras(vals, false)}
end
return numbered(run, expand)
