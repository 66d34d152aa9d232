-- Lets ended tasks go, a batch at a time: what nobody may read any more shrinks
-- to what a repeated enqueue needs, and that goes an hour after the end, or
-- with the retention if that is longer. Trims events, throughput and the lanes
-- of processes long gone.
--
-- ARGV 8 batches at most, 9 event entries kept, 10 ms that events are kept,
-- 11 ms after which an unused lane is forgotten.
-- Returns compact: tasks looked at.
local function run()
  local looked = 0
  local batches = call('ZRANGEBYSCORE', PURGE, '-inf', now, 'LIMIT', 0, tonumber(ARGV[8]))
  for _, member in ipairs(batches) do
    local ids = {}
    for at = 1, #member, 16 do ids[#ids + 1] = sub(member, at, at + 15) end
    looked = looked + #ids
    local remove = {}
    local records, whole = load(ids), {}
    for _, r in ipairs(records) do
      if r and not has(r, F_HIDDEN) then whole[#whole + 1] = r.id end
    end
    for i, spec in ipairs(#whole > 0 and call('HMGET', SPECS, unpack(whole)) or whole) do loaded[whole[i]].spec = spec end
    for i, r in ipairs(records) do
      if r and not gone[r.id] and (r.st >= SUCCEEDED or has(r, F_DELETED)) then
        local counted = not has(r, F_DELETED) and not has(r, F_HIDDEN)
        local ret = retention(r)
        if now >= finished(r) + max(ret, HOUR) then
          if counted then tally(r, -1) end
          forget(r)
          exists(r, -1)
          gone[r.id] = true
          remove[#remove + 1] = r.id
        elseif now >= finished(r) + max(ret, LINGER) and not has(r, F_HIDDEN) then
          if counted then tally(r, -1) end
          forget(r)
          local o, key = has(r, F_RETENTION) and 9 or 1, ''
          local kept = sub(specof(r), 1, o - 1)
          if has(r, F_UNIQUE) then key = uniquekey(r); o = o + 2 + #key; clear(r, F_UNIQUE) end
          local var = byte(r.spec, o)
          r.spec = kept .. sub(r.spec, o, o + var) .. redis.sha1hex(key .. '\0' .. sub(r.spec, o + 1 + var, -17))
          r.run, r.fin = sub(r.run, 1, 8), sub(r.fin, 1, 9) .. pack('>I3', 0)
          r.respec = true
          set(r, F_HIDDEN + F_BARE)
          touch(r)
          leaves(r, finished(r) + max(ret, HOUR))
        elseif counted then
          leaves(r, finished(r) + max(ret, LINGER))
        else
          leaves(r, finished(r) + max(ret, HOUR))
        end
      end
    end
    if #remove > 0 then
      call('HDEL', TASKS, unpack(remove))
      call('HDEL', SPECS, unpack(remove))
    end
    call('ZREM', PURGE, member)
  end
  flush()

  local ev = tonumber(call('HGET', META, 'ev') or 0)
  local marks, kept, cut, last = call('HGET', META, 'marks') or '', {}, 0, 0
  for ms, n in string.gmatch(marks, '(%d+):(%d+)') do
    if tonumber(ms) + tonumber(ARGV[10]) < now then cut = tonumber(n) else kept[#kept + 1] = ms .. ':' .. n end
    last = tonumber(ms)
  end
  if ev > 0 and (now - last > 60000 or last > now + 60000) then kept[#kept + 1] = string.format('%d:%d', now, ev) end
  local text = concat(kept, ',')
  if text ~= marks then call('HSET', META, 'marks', text) end
  cut = max(cut, ev - tonumber(ARGV[9]))
  if cut > 0 then call('XTRIM', EVENTS, 'MINID', (cut + 1) .. '-0') end

  local old = {}
  for _, f in ipairs(call('HKEYS', COUNTS)) do
    if #f > 6 and tonumber(sub(f, 2)) < floor((now - 120000) / BUCKET) then old[#old + 1] = f end
  end
  if #old > 0 then call('HDEL', COUNTS, unpack(old)) end
  local lanes = call('HRANDFIELD', LANES, 2)
  for _, l in ipairs(lanes) do
    if l ~= '*' and unstruct('>I8', call('HGET', LANES, l), 7) + tonumber(ARGV[11]) < now then call('HDEL', LANES, l) end
  end
  return tostring(looked)
end
return numbered(run, plain)
