-- Keeps a session alive, or ends it, and tells it what it has to know. Not
-- numbered: a second beat does no harm. It compares lane marks instead.
--
-- KEYS 22 control list of the session.
-- ARGV 8 session, 9 details (packed by the caller), 10 through, 11 leaving (0,
-- 1; - if nothing was granted since a beat that held nothing), 12 number of lanes, 13 of held leases; then lane and acknowledged number
-- in turn, then held leases: id 16, lease 8, claim 6; then, in partition 0 alone,
-- the journal of a member or '', what is recorded of it ('': it is removed), how far
-- it has come, and the journals that are forgotten.
-- ARGV 1 is the lineage of the data that the caller knows ('': none): in others
-- nothing is written.
-- Returns compact (counter; !gap if the data are others, or a key is gone), ids whose cancel was requested, held leases that
-- are not, all sessions (id and counter 6 + details, or id + seq and unfinished
-- grants, or m + journal and what is known of a member, or * and lineage 8 and
-- generation 8 of the data, in turn), lines to wake,
-- lanes that lost.
local function run()
  local session, through, leaving = ARGV[8], tonumber(ARGV[10]), ARGV[11] == '1'
  local nl, nh = tonumber(ARGV[12]), tonumber(ARGV[13])
  local cancels, lost, behind = {}, {}, {}
  if nl > 0 then
    local ids = {}
    for i = 1, nl do ids[i] = ARGV[12 + 2 * i] end
    for i, v in ipairs(call('HMGET', LANES, unpack(ids))) do
      if (v and unstruct('>I6', v) or 0) < tonumber(ARGV[13 + 2 * i]) then behind[#behind + 1] = ids[i] end
    end
  end
  local all, had, lineage, looked = call('HGETALL', SESSIONS), nil, '', nil
  for i = 1, #all, 2 do
    if all[i] == session then had = all[i + 1] elseif all[i] == '*' then lineage = sub(all[i + 1], 1, 8)
    elseif all[i] == 'w' then looked = tonumber(all[i + 1]) end
  end
  local look = not looked or math.abs(now - looked) > 500 -- one of all sessions does
  if look and (not looked or floor(now / 20000) ~= floor(looked / 20000)) then
    local strange = refuse() -- a key that somebody has written over stays where it was
    if strange then return strange end
  end
  local blind = nh > 0 and not (call('HGET', TASKS, '') and call('HGET', SPECS, ''))
  if blind or look and vanished() or ARGV[1] ~= '' and ARGV[1] ~= lineage then return {'!gap', {}, {}, all, {}, {}} end
  local counter = (had and unstruct('>I6', had) or 0) + 1
  local holds, ids = {}, {}
  for i = 14 + 2 * nl, 13 + 2 * nl + nh do ids[#ids + 1] = sub(ARGV[i], 1, 16) end
  -- Of a task under way for the first time the grant says enough: what it was asked for
  -- may be long.
  local granted = ARGV[11] ~= '-' and call('ZRANGEBYLEX', GRANTS, '[' .. session, '[' .. session .. '\255') or {}
  local first, todo = {}, {}
  if nh > 0 and not leaving then
    for _, member in ipairs(granted) do
      local lease = sub(member, 23, 30)
      for at = 31, #member, 16 do first[sub(member, at, at + 15)] = lease end
    end
    for i, v in ipairs(call('HMGET', TASKS, unpack(ids))) do
      if v then loaded[ids[i]] = decode(ids[i], v) end
    end
  end
  for i, id in ipairs(ids) do
    local a = ARGV[13 + 2 * nl + i]
    if not loaded[id] and first[id] == sub(a, 17, 24) and unstruct('>I6', a, 25) == 1 then holds[id] = true
    else todo[#todo + 1] = a; ids[#todo] = id end
  end
  for i = #todo + 1, nh do ids[i] = nil end
  local adopted = {}
  for i, r in ipairs(load(ids)) do
    local a = todo[i]
    if r and r.st == RUNNING and r.claim == unstruct('>I6', a, 25) and sub(r.run, 1, 8) == sub(a, 17, 24) then
      holds[r.id] = true
      if sub(r.run, 9, 24) ~= session then
        -- Imported, or left behind by a session that is gone: it has an owner again.
        tally(r, -1)
        r.run = sub(r.run, 1, 8) .. session .. pack('>I6', 0) .. sub(r.run, 31)
        tally(r, 1)
        touch(r)
        adopted[#adopted + 1] = r.id
        if has(r, F_CANCEL) then call('HSET', CANCELS, r.id, session) end
      end
      if has(r, F_CANCEL) then cancels[#cancels + 1] = r.id end
    else
      lost[#lost + 1] = a
    end
  end
  if #adopted > 0 then call('ZADD', GRANTS, 0, session .. string.rep('\0', 14) .. concat(adopted)) end
  for _, member in ipairs(granted) do
    local seq, list = unstruct('>I6', member, 17), {}
    if leaving or seq <= through then
      for at = 31, #member, 16 do
        local id = sub(member, at, at + 15)
        if not holds[id] then list[#list + 1] = id end
      end
      for _, r in ipairs(load(list)) do
        if r and r.st == RUNNING and sub(r.run, 9, 30) == sub(member, 1, 22) then giveback(r, 6) end
      end
    end
  end
  local m = 14 + 2 * nl + nh
  local member, removed = ARGV[m] and ARGV[m] ~= '' and 'm' .. ARGV[m], false
  for i = m + 3, #ARGV do
    removed = true
    call('HDEL', SESSIONS, 'm' .. ARGV[i])
  end
  if leaving then
    if member and ARGV[m + 1] == '' then
      call('HDEL', SESSIONS, member)
      call('HSET', META, 'e' .. ARGV[m], ARGV[m + 2]) -- what it comes back with must not be older
    elseif member then call('HSET', SESSIONS, member, ARGV[m + 1]) end
    for id in pairs(holds) do -- nobody will beat for it: it waits for another session
      local r = loaded[id]
      tally(r, -1)
      r.run = sub(r.run, 1, 8) .. NOBODY .. sub(r.run, 31)
      tally(r, 1)
      touch(r)
      call('ZADD', DUE, now + 15000, id)
    end
    call('HDEL', SESSIONS, session)
    call('DEL', KEYS[22])
  else
    local text = pack('>I6', counter) .. ARGV[9]
    local news = {session, text}
    if member and ARGV[m + 1] ~= '' then news[3], news[4] = member, ARGV[m + 1] end
    if look then news[#news + 1] = 'w'; news[#news + 1] = ARGV[4] end
    call('HSET', SESSIONS, unpack(news))
    if #dirtied == 0 and not removed then -- nothing else has changed: what was read still holds
      for n = 1, #news, 2 do
        local at = #all + 1
        for i = 1, #all, 2 do if all[i] == news[n] then at = i end end
        all[at], all[at + 1] = news[n], news[n + 1]
      end
      return {tostring(counter), cancels, lost, all, {}, behind}
    end
  end
  flush()
  return {tostring(counter), cancels, lost, call('HGETALL', SESSIONS), linenames(woken), behind}
end
return run()
