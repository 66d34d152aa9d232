-- run keeps a running job, and ends it.
-- ARGV 3: what; 4: id; 5: queue; 6: worker; 7: when the job started, as it was
-- written; 8: seconds that it has run.
local what, id, queue, worker, started, took = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local key, wip = 'rq:worker:' .. worker, 'rq:wip:' .. queue
local h = call('HMGET', jobKey(id), 'worker_name', 'started_at', 'status', 'morningai_end')
local mine = h[1] == worker and h[2] == started
if mine and h[4] == started then return {'before'} end -- this run's end was told before

if what == 'beat' then
  if mine and h[3] == 'started' then
    call('HSET', jobKey(id), 'last_heartbeat', iso)
    call('ZADD', wip, 'XX', second + 90, id)
  end
  if call('EXISTS', key) == 1 then
    call('HSET', key, 'last_heartbeat', iso, 'state', 'busy', 'current_job', id, 'current_job_working_time', took)
    call('EXPIRE', key, 90)
  end
  return {mine and 'ok' or 'lost'}
end

local function idle(counter)
  if call('EXISTS', key) == 0 then return end
  call('HSET', key, 'state', 'idle', 'last_heartbeat', iso)
  call('HDEL', key, 'current_job', 'current_job_working_time')
  if mine then
    call('HINCRBY', key, counter, 1)
    call('HINCRBYFLOAT', key, 'total_working_time', took)
  end
  call('EXPIRE', key, 480)
end

if not mine then -- it is gone, or somebody else has begun it anew
  if what == 'finish' then idle('successful_job_count') else idle('failed_job_count') end
  return {h[1] and 'lost' or 'gone'}
end
call('ZREM', wip, id)
call('HSET', jobKey(id), 'morningai_end', started)
if h[3] ~= 'started' then leave(id, queue) end -- given up by a cleaning, and finished after all

-- again puts the job where it waits for another run, after the interval that the
-- list has for it.
local function again(listField, left)
  local intervals = cjson.decode(call('HGET', jobKey(id), listField) or '[]')
  if type(intervals) ~= 'table' then intervals = {intervals} end
  local wait = tonumber(intervals[math.max(#intervals - left, 0) + 1] or 0) or 0
  if wait <= 0 then
    queued(id, queue, call('HGET', jobKey(id), 'enqueue_at_front_on_retry') == '1')
  else
    call('HSET', jobKey(id), 'status', 'scheduled')
    call('SADD', 'rq:queues', queueKey(queue))
    call('ZADD', 'rq:scheduled:' .. queue, second + math.ceil(wait), id)
  end
end

if what == 'finish' then
  -- ARGV 9: return value, or "".
  idle('successful_job_count')
  call('HSET', jobKey(id), 'status', 'finished', 'ended_at', iso, 'last_heartbeat', iso)
  local ttl = ttlOf(id, 'result_ttl', 500)
  local left = tonumber(call('HGET', jobKey(id), 'repeats_left') or nil) or 0
  if ttl ~= 0 then
    if ARGV[9] ~= '' then outcome(id, 1, ttl, worker, 'return_value', ARGV[9]) else outcome(id, 1, ttl, worker) end
  end
  release(id)
  if left > 0 then
    call('HSET', jobKey(id), 'repeats_left', left - 1)
    again('repeat_intervals', left)
  elseif ttl == 0 then
    call('DEL', jobKey(id), childrenKey(id), parentsKey(id))
  else
    call('ZADD', 'rq:finished:' .. queue, ttl < 0 and '+inf' or second + ttl, id)
    ending(id, ttl)
  end
  return {'finished'}
end

-- fail: ARGV 9: traceback; 10: "stopped" for a job that was stopped.
idle('failed_job_count')
local left = tonumber(call('HGET', jobKey(id), 'retries_left') or nil) or 0
if left > 0 and ARGV[10] ~= 'stopped' then
  call('HSET', jobKey(id), 'retries_left', left - 1, 'last_heartbeat', iso)
  again('retry_intervals', left)
  return {'again'}
end
local ttl = ttlOf(id, 'failure_ttl', 31536000)
call('HSET', jobKey(id), 'status', ARGV[10] == 'stopped' and 'stopped' or 'failed', 'ended_at', iso, 'last_heartbeat', iso)
outcome(id, 2, ttl, worker, 'exc_string', ARGV[9])
call('ZADD', 'rq:failed:' .. queue, ttl < 0 and -1 or second + ttl, id)
ending(id, ttl)
release(id)
return {'failed'}
