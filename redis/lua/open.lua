-- Makes the partition ready, or says what it was made for.
-- ARGV 8 number of partitions, 9 format. Returns compact (partitions), format.
local p = call('HGET', META, 'partitions')
if not p then
  call('HSET', META, 'partitions', ARGV[8], 'format', ARGV[9])
  p = ARGV[8]
end
return {p, call('HGET', META, 'format')}
