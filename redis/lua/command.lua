-- Carries out operators' commands.
--
-- ARGV 8.. one a command: id 16, kind 1 (1 cancel, 2 retry, 3 run, 4 delete),
-- version 6 (0: any), what readers see of a task that is canceled, if not that
-- it was (the front part of an end).
-- Returns compact, names, records, extras, lines to wake. compact: a letter a
-- command (o done, n unknown, v version has moved, k key held by another task,
-- w wrong state); r done, and 16 bytes of the session that runs the task follow.
local function wakeup(r)
  tally(r, -1)
  move(r, QUEUED, E_QUEUED)
  return 'o'
end
local function cancel(r, why)
  if r.st == RUNNING then
    local session = sub(r.run, 9, 24)
    if not has(r, F_CANCEL) then
      set(r, F_CANCEL)
      r.ver = r.ver + 1
      touch(r)
      call('HSET', CANCELS, r.id, session)
    end
    return 'r' .. session
  end
  if r.st == CANCELED then return 'o' end
  if r.st >= SUCCEEDED then return 'w' end
  tally(r, -1)
  r.fin = nowns .. '\0' .. pack('>I3', #why) .. why
  bump(dflow, 'c', 1)
  move(r, CANCELED, E_CANCELED)
  return 'o'
end
local function retry(r)
  if r.st == QUEUED or r.st == RUNNING then return 'o' end
  if r.st == SCHEDULED then
    if r.fail == 0 then return 'w' end
    return wakeup(r)
  end
  if r.st ~= FAILED and r.st ~= CANCELED then return 'w' end
  if has(r, F_UNIQUE) then
    local k = uniquekey(r)
    local holder = call('HGET', UNIQUE, k)
    if holder and holder ~= r.id then return 'k' end
    call('HSET', UNIQUE, k, r.id)
  end
  tally(r, -1)
  if #r.fin > 9 and byte(r.fin, 9) ~= 0 and r.run ~= '' then
    archive(r, sub(r.fin, 13, 12 + unstruct('>I3', r.fin, 10)), byte(r.fin, 9))
  end
  r.life, r.fail, r.fin = r.life + 1, 0, ''
  if has(r, F_PROGRESS) then
    call('HDEL', EXTRA, r.id .. 'p')
    clear(r, F_PROGRESS)
  end
  move(r, QUEUED, E_QUEUED)
  return 'o'
end
local function delete(r)
  if r.st == RUNNING then return 'w' end
  tally(r, -1)
  if r.st < SUCCEEDED and has(r, F_UNIQUE) then
    local k = uniquekey(r)
    if call('HGET', UNIQUE, k) == r.id then call('HDEL', UNIQUE, k) end
  end
  if r.st < SUCCEEDED or r.fin == '' then r.fin = nowns .. '\0' .. pack('>I3', 0) end
  set(r, F_DELETED)
  r.ver = r.ver + 1
  touch(r)
  event(E_DELETED, r)
  leaves(r, finished(r) + max(retention(r), HOUR))
  return 'o'
end
local function run()
  local ids, out = {}, {}
  for i = 8, #ARGV do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  for i, r in ipairs(load(ids)) do
    local kind, version = unstruct('>BI6', ARGV[7 + i], 17)
    if not r or has(r, F_HIDDEN) or has(r, F_DELETED) and kind ~= 4 then out[i] = 'n'
    elseif has(r, F_DELETED) then out[i] = 'o'
    elseif version ~= 0 and version ~= r.ver then out[i] = 'v'
    elseif kind == 1 then out[i] = cancel(r, sub(ARGV[7 + i], 24))
    elseif kind == 2 then out[i] = retry(r)
    elseif kind == 3 then
      if r.st >= SUCCEEDED then out[i] = 'w' elseif r.st == SCHEDULED then out[i] = wakeup(r) else out[i] = 'o' end
    else out[i] = delete(r) end
  end
  flush()
  return concat(out)
end
local function expand(compact)
  local ids = {}
  for i = 8, #ARGV do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  local names, vals = values(ids)
  return {compact, names, vals, extras(vals, false), linenames(woken)}
end
return numbered(run, expand)
