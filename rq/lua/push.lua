-- push hands a job to RQ, once per id.
-- ARGV 3: id; 4: queue; 5: unix second when it is due, or ""; 6: "1" to put it in
-- front; 7: name of the sender, or ""; 8: its life, with a sender; 9: number n of
-- parents; then n parents; then names and values of the job's hash.
-- Returns {"pushed", n}, {"exists", status}, {"no parent"}, {"foreign"}. With a
-- sender n is the number of its push, which Redis keeps beside RQ's data: a number
-- below the one returned shows that Redis has lost what came after it.
local id, queue, due, front, sender, life = ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7], ARGV[8]
local count = tonumber(ARGV[9])
local there = call('HMGET', jobKey(id), 'status', 'morningai_life', 'origin', 'data')
if there[1] or there[3] or there[4] then
  if sender == '' then return {'exists', there[1] or ''} end
  if not there[2] then return {'foreign'} end
  if tonumber(there[2]) >= tonumber(life) then return {'exists', there[1] or ''} end
  leave(id, there[3] or queue) -- the same job, in another life
  call('DEL', jobKey(id), parentsKey(id), resultsKey(id))
end
for i = 1, count do
  local status = call('HGET', jobKey(ARGV[9 + i]), 'status')
  if not status then return {'no parent'} end
end
call('SADD', 'rq:queues', queueKey(queue))
local fields = {}
for i = 10 + count, #ARGV do fields[#fields + 1] = ARGV[i] end
call('HSET', jobKey(id), unpack(fields))
if sender ~= '' then call('HSET', jobKey(id), 'morningai_life', life) end
for i = 1, count do call('SADD', parentsKey(id), ARGV[9 + i]) end
if count > 0 and not met(id, call('HGET', jobKey(id), 'allow_dependency_failures') == '1') then
  call('HSET', jobKey(id), 'status', 'deferred')
  call('ZADD', 'rq:deferred:' .. queue, '+inf', id) -- RQ 2 fails those whose score has passed
  for i = 1, count do call('SADD', childrenKey(ARGV[9 + i]), id) end
elseif due ~= '' then
  call('HSET', jobKey(id), 'status', 'scheduled')
  call('ZADD', 'rq:scheduled:' .. queue, due, id)
else
  queued(id, queue, front)
end
if sender == '' then return {'pushed', 0} end
return {'pushed', call('HINCRBY', 'morningai:rq:sent', sender, 1)}
