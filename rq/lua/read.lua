-- read returns a job: its hash, when it is due, and its newest result.
-- ARGV 3: id.
local id = ARGV[3]
local hash = call('HGETALL', jobKey(id))
if #hash == 0 then return {0} end
local origin = call('HGET', jobKey(id), 'origin')
local due = origin and call('ZSCORE', 'rq:scheduled:' .. origin, id) or ''
local entry = ''
if call('TYPE', resultsKey(id)).ok == 'stream' then
  local newest = call('XREVRANGE', resultsKey(id), '+', '-', 'COUNT', 1)
  if newest[1] then entry = newest[1] end
end
return {hash, due or '', entry}
