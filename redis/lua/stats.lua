-- What a partition holds: maintained counts, never a scan over tasks.
-- Returns compact (empty; !gap if a key is gone), counts, names, settings and buckets of queues,
-- oldest queued (queue number, id, record, spec in turn), sessions with unfinished
-- grants, throughput.
if vanished() then return {'!gap'} end
local all, counts, flow, oldest = call('HGETALL', COUNTS), {}, {}, {}
for i = 1, #all, 2 do
  local list = #all[i] > 6 and flow or counts
  list[#list + 1], list[#list + 2] = all[i], all[i + 1]
end
for i = 1, #counts, 2 do
  local st, q = unstruct('>BI3', counts[i])
  if st == QUEUED and tonumber(counts[i + 1]) > 0 then
    local first, prefix = math.huge, pack('>I3', q)
    local lo = '[' .. prefix
    while true do
      local m = call('ZRANGEBYLEX', READY, lo, '[' .. prefix .. '\255', 'LIMIT', 0, 1)[1]
      if not m then break end
      local chunk, b = unstruct('>I6', m, 8), call('HGET', BITS, m) or ''
      for at = 1, #b do
        local v = byte(b, at)
        if v > 0 then
          local n = 0
          while v % 2 == 0 do v = v / 2; n = n + 1 end
          first = min(first, chunk * 256 + (at - 1) * 8 + n)
          break
        end
      end
      lo = '(' .. sub(m, 1, 7) .. string.rep('\255', 7)
    end
    if first < math.huge then
      local id = sub(call('HGET', CHUNKS, floor(first / 32)) or '', first % 32 * 16 + 1, first % 32 * 16 + 16)
      local v = read({id})[1]
      if v then
        oldest[#oldest + 1] = tostring(q)
        oldest[#oldest + 1] = id
        oldest[#oldest + 1] = v
        oldest[#oldest + 1] = call('HGET', SPECS, id)
      end
    end
  end
end
return {'', counts, call('HGETALL', NAMES), call('HGETALL', QUEUES), oldest, call('HGETALL', SESSIONS), flow}
