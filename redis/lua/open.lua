-- Makes the partition ready, or says what it was made for, and tells which data it
-- holds. It is refused while a key holds something of another kind. Data that nobody has named get a name; if the caller has noticed a loss,
-- or knows of more than is there, a new generation begins: the lanes of all
-- processes end, so that each of them notices at its next call. If a key is gone,
-- the caller is told to mend the others first; until then all calls are refused.
--
-- ARGV 8 number of partitions, 9 format, 10 the data that the caller expects ('':
-- any), 11 a name for data that have none, 12 the generation that the caller knows,
-- 13 1 if it has noticed a loss, r if it only looks, 14 a lineage for a new generation (8 bytes).
-- Returns compact (partitions), format, data, generation, lineage, when the last
-- loss was noticed (ms), mend if the data have to be mended.
local strange = refuse()
if strange then return strange end
local m = call('HMGET', META, 'partitions', 'format', 'data', 'epoch', 'lineage', 'lost', 'mend')
local p, f, data, gen, lineage, lost, mend = m[1], m[2], m[3], tonumber(m[4] or 0), m[5], m[6], m[7]
local missing, n, says = missed()
if not p and says then p, f, data = sub(says, 17), ARGV[9], sub(says, 1, 16) end
if ARGV[13] == 'r' or p and (p ~= ARGV[8] or f ~= ARGV[9]) or data and ARGV[10] ~= '' and data ~= ARGV[10] then
  return {p or '', f or '', data or '', tostring(gen), lineage or '', lost or '0', ''}
end
p, f = ARGV[8], ARGV[9]
if says and n > 0 and not mend then
  -- Which records can be trusted: without its record a task that has started looks
  -- as if it had not.
  mend = 'c0:64'
  if missing[SPECS] or missing[NAMES] and missing[META] then mend = 'w0:64'
  elseif missing[TASKS] then mend = (missing[BITS] or missing[CHUNKS]) and 'w0:64' or 's0:64' end
  local beat = call('HGET', SESSIONS, '*')
  if gen == 0 and beat then gen = unstruct('>I8', beat, 9) end
  call('HSET', META, 'partitions', p, 'format', f, 'data', data or sub(says, 1, 16), 'epoch', gen, 'mend', mend, 'lost', ARGV[4])
  if missing[META] then -- nobody knows how many events there were, but no more than that
    call('UNLINK', EVENTS)
    call('HSET', META, 'ev', now)
  end
  call('HDEL', META, 'torn')
  call('HDEL', SESSIONS, '*')
  call('DEL', LANES)
end
if mend then return {p, f, data or '', tostring(gen), lineage or '', lost or '0', 'mend'} end
if not m[1] then call('HSET', META, 'partitions', p, 'format', f) end
local known = tonumber(ARGV[12])
if gen == 0 or gen < known or gen == known and ARGV[13] == '1' or not call('HGET', LANES, '*') then
  lost = known > 0 and ARGV[4] or lost or '0'
  gen, lineage, data = max(gen, known) + 1, ARGV[14], data or ARGV[10] ~= '' and ARGV[10] or ARGV[11]
  call('HSET', META, 'data', data, 'epoch', gen, 'lineage', lineage, 'lost', lost)
  call('HSET', SESSIONS, '*', lineage .. pack('>I8', gen))
  call('DEL', LANES)
  call('HSET', LANES, '*', lineage .. '\0\0\0\0\0\0\0\0')
end
if not says then
  testify(data .. p)
  local names = call('HGETALL', NAMES) -- of data that are older than witnesses
  for i = 1, #names, 2 do
    if string.find(names[i], '^[qt#]') then call('HSET', META, 'n' .. names[i], names[i + 1]) end
  end
end
return {p, f, data, tostring(gen), lineage, lost, ''}
