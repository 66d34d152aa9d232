-- One step of mending data of which a key is gone: what other keys say is written
-- anew from the records. Nobody else works meanwhile; whoever wants to takes part.
-- State in meta: the phase (w what is left is of no use and goes, s tasks that have
-- lost their record go, c the indexes go, i they are written), cursor, records a step.
--
-- ARGV 8 ms that a running task waits for its session.
-- Returns compact (m more to do, e the end).
local ENOUGH = 1048576 -- bytes of a step
local phase, cursor, count = string.match(call('HGET', META, 'mend') or '', '(%a)(%d+):(%d+)')
local function counted(r) return not has(r, F_DELETED) and not has(r, F_HIDDEN) end
-- page reads on in specs.
local function page()
  local got = call('HSCAN', SPECS, cursor, 'COUNT', count)
  local ids, specs, bytes = {}, {}, 0
  for i = 1, #got[2], 2 do
    if got[2][i] ~= '' then
      ids[#ids + 1], specs[#ids + 1] = got[2][i], got[2][i + 1]
      bytes = bytes + #got[2][i + 1]
    end
  end
  cursor = got[1]
  count = max(1, min(512, floor(count * ENOUGH / max(bytes, 1)), count * 2))
  return ids, specs
end
local function go(to) call('HSET', META, 'mend', string.format('%s%s:%d', to, cursor, count)) end
-- sift lets tasks go whose record is gone, unless they wait in their place still.
local function sift()
  local ids, specs = page()
  if #ids == 0 then return end
  local lost = {}
  local names = {}
  for i, spec in ipairs(specs) do names[i] = (blockof(spec)) end
  openblocks(names)
  for i, v in ipairs(call('HMGET', TASKS, unpack(ids))) do
    if not v and not holder(blocks[names[i]], byte(specs[i], -1) % 32) then
      local pr, _, q, t, chunk, n = unstruct('>BHI3I3I6B', sub(specs[i], -16))
      local bits = call('HGET', BITS, pack('>I3I3BI6', q, t, pr, chunk))
      local at = call('HGET', CHUNKS, chunk * 8 + floor(n / 32)) or ''
      if not bits or band(byte(bits, floor(n / 8) + 1), 2 ^ (n % 8)) == 0 or sub(at, n % 32 * 16 + 1, n % 32 * 16 + 16) ~= ids[i] then
        lost[#lost + 1] = ids[i]
      end
    end
  end
  if #lost > 0 then call('HDEL', SPECS, unpack(lost)) end
end
local function clear()
  local names, says = call('HGETALL', META), call('HMGET', META, 'data', 'partitions')
  local counts, late = call('HGETALL', COUNTS), {}
  for i = 1, #counts, 2 do
    if #counts[i] > 6 then late[#late + 1], late[#late + 2] = counts[i], counts[i + 1] end
  end
  call('UNLINK', CHUNKS, READY, BITS, WAITING, DUE, COUNTS, CELLS, INDEX, UNIQUE, PURGE, GRANTS, CANCELS)
  if #late > 0 then call('HSET', COUNTS, unpack(late)) end
  for _, f in ipairs(call('HKEYS', SESSIONS)) do
    if #f == 22 then call('HDEL', SESSIONS, f) end
  end
  for i = 1, #names, 2 do
    local kind, name = string.match(names[i], '^n([qt#])(.*)$')
    if kind == '#' then call('HSET', NAMES, '#' .. name, names[i + 1])
    elseif kind then call('HSET', NAMES, kind .. name, names[i + 1], string.upper(kind) .. names[i + 1], name) end
  end
  testify(says[1] .. says[2])
end
-- seated gives a record its place among the ids of its chunk; false: it has it, nil:
-- another one has it.
local lists, FREE = {}, string.rep('\0', 16)
local function seated(r)
  local chunk, n = floor(r.seq / 256), r.seq % 256
  local b, o = chunk * 8 + floor(n / 32), n % 32 * 16
  for k = chunk * 8, b do
    local list = lists[k] or call('HGET', CHUNKS, k) or ''
    local had = k == b and sub(list, o + 1, o + 16) or ''
    if had == r.id then return false end
    if had ~= '' and had ~= FREE then return nil end
    local least = k < b and 512 or o
    lists[k] = list .. string.rep('\0', least - #list)
  end
  lists[b] = sub(lists[b], 1, o) .. r.id .. sub(lists[b], o + 17)
  return true
end
-- keeps leaves a running task to the session that it was handed to. If that does
-- not beat any more, the task is given back when its time is over: see ripen.
local handed = {}
local function keeps(r)
  local g = sub(r.run, 9, 30)
  if g ~= NOBODY then
    local grant = g .. sub(r.run, 1, 8)
    local list = handed[grant] or {}
    handed[grant] = list
    list[#list + 1] = r.id
  end
  call('ZADD', DUE, now + tonumber(ARGV[8]), r.id)
  if has(r, F_CANCEL) then call('HSET', CANCELS, r.id, sub(g, 1, 16)) end
end
local function index()
  local ids, specs = page()
  local top = tonumber(call('HGET', META, 'next') or 0)
  for i, r in ipairs(load(ids)) do
    r.plain = r.spec and #r.spec <= SMALL + 16 -- there is no record to look at
    r.spec = specs[i]
    local is = seated(r)
    if is == nil then -- it goes behind all others
      r.seq = top
      is = seated(r)
      touch(r)
    end
    if is then
      top = max(top, (floor(r.seq / 256) + 1) * 256)
      exists(r, 1)
      if counted(r) then
        if r.st == RUNNING then keeps(r) end
        tally(r, 1)
        if r.st < SUCCEEDED and has(r, F_UNIQUE) then call('HSETNX', UNIQUE, uniquekey(r), r.id) end
      end
      if not counted(r) then leaves(r, finished(r) + max(retention(r), HOUR))
      elseif r.st >= SUCCEEDED then leaves(r, finished(r) + max(retention(r), LINGER)) end
    end
  end
  for b, list in pairs(lists) do call('HSET', CHUNKS, b, list) end
  for grant, list in pairs(handed) do call('ZADD', GRANTS, 0, grant .. concat(list)) end
  call('HSET', META, 'next', top)
  flush()
end
if phase == 'w' then
  call('UNLINK', SPECS, TASKS, EXTRA, NAMES, SESSIONS, QUEUES)
  go('c')
elseif phase == 's' then
  sift()
  go(cursor == '0' and 'c' or 's')
elseif phase == 'c' then
  clear()
  go('i')
elseif phase == 'i' then
  index()
  if cursor ~= '0' then go('i')
  else -- a generation of its own begins when somebody opens them
    call('HDEL', META, 'mend')
    call('HSET', SESSIONS, '*', string.rep('\0', 16))
  end
end
return {call('HEXISTS', META, 'mend') == 1 and 'm' or 'e'}
