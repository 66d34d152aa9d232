-- What is remembered of backups that were put in: in partition 0.
-- ARGV 8 generation at least, 9 the restore that is under way; '' only asks.
-- Returns compact (generation), the restore that is under way.
local had = call('HMGET', META, 'generation', 'unfinished')
local generation, unfinished = had[1] or '0', had[2] or '0'
if ARGV[8] ~= '' then
  if tonumber(ARGV[8]) > tonumber(generation) then generation = ARGV[8] end
  unfinished = ARGV[9]
  call('HSET', META, 'generation', generation, 'unfinished', unfinished)
end
return {generation, unfinished}
