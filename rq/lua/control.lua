-- control commands a job.
-- ARGV 3: what; 4: id.
-- Returns {what became of it, status, worker}: "done", "running" (cancel: it has
-- started, so the worker must be told), "gone", or "refused".
local what, id = ARGV[3], ARGV[4]
local h = call('HMGET', jobKey(id), 'status', 'origin', 'worker_name', 'enqueue_at_front')
local status, origin, worker = h[1] or '', h[2] or '', h[3] or ''
if call('EXISTS', jobKey(id)) == 0 then return {'gone', '', ''} end
if what == 'cancel' then
  if status == 'started' then return {'running', status, worker} end
  if status == 'canceled' then return {'done', status, worker} end
  if status == 'finished' or status == 'failed' or status == 'stopped' then return {'refused', status, worker} end
  leave(id, origin)
  call('HSET', jobKey(id), 'status', 'canceled')
  call('ZADD', 'rq:canceled:' .. origin, second, id)
  return {'done', 'canceled', worker}
elseif what == 'requeue' then
  if status == 'queued' then return {'done', status, worker} end
  if status ~= 'failed' and status ~= 'stopped' and status ~= 'canceled' then return {'refused', status, worker} end
  leave(id, origin)
  call('HSET', jobKey(id), 'started_at', '', 'ended_at', '', 'worker_name', '', 'last_heartbeat', '')
  ending(id, -1)
  queued(id, origin, h[4] == '1')
  return {'done', 'queued', ''}
elseif what == 'delete' then
  if status == 'started' then return {'refused', status, worker} end
  leave(id, origin)
  call('DEL', jobKey(id), childrenKey(id), parentsKey(id), resultsKey(id))
  return {'done', status, worker}
end
