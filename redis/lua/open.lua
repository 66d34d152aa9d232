-- Makes the partition ready, or says what it was made for, and tells which data it
-- holds. Data that nobody has named get a name; if the caller has noticed a loss,
-- or knows of more than is there, a new generation begins: the lanes of all
-- processes end, so that each of them notices at its next call.
--
-- ARGV 8 number of partitions, 9 format, 10 the data that the caller expects ('':
-- any), 11 a name for data that have none, 12 the generation that the caller knows,
-- 13 1 if it has noticed a loss, r if it only looks, 14 a lineage for a new generation (8 bytes).
-- Returns compact (partitions), format, data, generation, lineage, when the last
-- loss was noticed (ms).
local m = call('HMGET', META, 'partitions', 'format', 'data', 'epoch', 'lineage', 'lost')
local p, f, data, gen, lineage, lost = m[1], m[2], m[3], tonumber(m[4] or 0), m[5], m[6]
if ARGV[13] == 'r' or p and (p ~= ARGV[8] or f ~= ARGV[9]) or data and ARGV[10] ~= '' and data ~= ARGV[10] then
  return {p or '', f or '', data or '', tostring(gen), lineage or '', lost or '0'}
end
if not p then
  p, f = ARGV[8], ARGV[9]
  call('HSET', META, 'partitions', p, 'format', f)
end
local known = tonumber(ARGV[12])
if gen == 0 or gen < known or gen == known and ARGV[13] == '1' or not call('HGET', LANES, '*') then
  lost = known > 0 and ARGV[4] or lost or '0'
  gen, lineage, data = max(gen, known) + 1, ARGV[14], data or ARGV[10] ~= '' and ARGV[10] or ARGV[11]
  call('HSET', META, 'data', data, 'epoch', gen, 'lineage', lineage, 'lost', lost)
  call('HSET', SESSIONS, '*', lineage .. pack('>I8', gen))
  call('DEL', LANES)
  call('HSET', LANES, '*', lineage .. '\0\0\0\0\0\0\0\0')
end
return {p, f, data, tostring(gen), lineage, lost}
