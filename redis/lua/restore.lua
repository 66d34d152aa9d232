-- What is remembered of backups that were put in; and whenever one begins or ends, a
-- new generation of the data begins with it: all processes notice at their next call,
-- and tell what they know to be finished before anything older is handed out.
-- ARGV 8 generation at least, 9 the restore that is under way; '' only asks; 10 a
-- lineage for a new generation of the data (8 bytes).
-- Returns compact (generation; !gap while data are mended), the restore that is under way, then of the data
-- generation, lineage and when it began (ms).
if call('HEXISTS', META, 'mend') == 1 then return {'!gap'} end
local had = call('HMGET', META, 'generation', 'unfinished', 'epoch', 'lineage', 'lost')
local generation, unfinished, gen, lineage, lost = had[1] or '0', had[2] or '0', tonumber(had[3] or 0), had[4] or '', had[5] or '0'
if ARGV[8] ~= '' then
  local raised = tonumber(ARGV[8]) > tonumber(generation)
  if raised then generation = ARGV[8] end
  if raised or unfinished ~= ARGV[9] then
    gen, lineage, lost = max(gen + 1, tonumber(generation)), ARGV[10], ARGV[4]
    call('HSET', META, 'epoch', gen, 'lineage', lineage, 'lost', lost)
    call('HSET', SESSIONS, '*', lineage .. pack('>I8', gen))
    call('DEL', LANES)
    call('HSET', LANES, '*', lineage .. '\0\0\0\0\0\0\0\0')
  end
  unfinished = ARGV[9]
  call('HSET', META, 'generation', generation, 'unfinished', unfinished)
end
return {generation, unfinished, tostring(gen), lineage, lost}
