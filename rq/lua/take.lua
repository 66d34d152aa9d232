-- take looks for work and begins it.
-- ARGV 3: what.
local what = ARGV[3]
if what == 'peek' then
  -- ARGV 4: number n of queues; then n queues; then ids to pass over.
  -- Returns {} or {queue, id, hash}: the first job that is not passed over.
  if call('EXISTS', 'rq:suspended') == 1 then return {'suspended'} end
  local count = tonumber(ARGV[4])
  local skip = {}
  for i = 5 + count, #ARGV do skip[ARGV[i]] = true end
  for i = 5, 4 + count do
    local q = ARGV[i]
    for first = 0, 1900, 100 do
      local ids = call('LRANGE', queueKey(q), first, first + 99)
      for _, id in ipairs(ids) do
        if not skip[id] then return {q, id, call('HGETALL', jobKey(id))} end
      end
      if #ids < 100 then break end
    end
  end
  return {''}
end
local queue, id = ARGV[4], ARGV[5]
if what == 'drop' then -- an id without a job, as RQ does
  if call('EXISTS', jobKey(id)) == 0 then call('LREM', queueKey(queue), 1, id) end
  return {'dropped'}
end
if what == 'route' then
  -- ARGV 6: the queue that it goes to.
  if call('LREM', queueKey(queue), 1, id) == 0 then return {'gone'} end
  call('HSET', jobKey(id), 'origin', ARGV[6])
  queued(id, ARGV[6])
  return {'routed'}
end
-- start: ARGV 6: the worker. Returns {"gone"} or {"started"}.
local worker = ARGV[6]
local h = call('HMGET', jobKey(id), 'status', 'worker_name', 'started_at')
if h[1] == 'started' and h[2] == worker and h[3] == iso then return {'started'} end -- asked before
if call('EXISTS', 'rq:suspended') == 1 or call('LREM', queueKey(queue), 1, id) == 0 then return {'gone'} end
if call('EXISTS', jobKey(id)) == 0 then return {'gone'} end
call('ZADD', 'rq:wip:' .. queue, second + 90, id) -- the form that every version cleans up
call('HSET', jobKey(id), 'last_heartbeat', iso, 'status', 'started', 'started_at', iso, 'worker_name', worker)
call('PERSIST', jobKey(id))
local key = 'rq:worker:' .. worker
call('HSET', key, 'state', 'busy', 'current_job', id, 'current_job_working_time', 0, 'last_heartbeat', iso)
call('EXPIRE', key, 90)
return {'started'}
