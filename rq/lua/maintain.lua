-- maintain cleans up a queue and moves jobs that are due, as RQ's workers do.
-- ARGV 3: what; 4: queue.
local what, queue = ARGV[3], ARGV[4]

if what == 'due' or what == 'unlock' then
  -- ARGV 5: who schedules, an integer. One scheduler works on a queue.
  local lock = 'rq:scheduler-lock:' .. queue
  local holder = call('GET', lock)
  if what == 'unlock' then
    if holder == ARGV[5] then call('DEL', lock) end
    return {0}
  end
  if holder and holder ~= ARGV[5] then return {-1} end
  call('SET', lock, ARGV[5], 'EX', 61)
  local ids = call('ZRANGEBYSCORE', 'rq:scheduled:' .. queue, 0, second, 'LIMIT', 0, 500)
  for _, id in ipairs(ids) do
    call('ZREM', 'rq:scheduled:' .. queue, id)
    if call('EXISTS', jobKey(id)) == 1 then queued(id, queue, call('HGET', jobKey(id), 'enqueue_at_front') == '1') end
  end
  return {#ids}
end

-- clean: ARGV 5: the traceback of a job whose worker is gone; 6: of one that no
-- worker has begun. Returns {failed or tried again, ...ids}.
local lock = 'rq:clean_registries:' .. queue
if not call('SET', lock, 1, 'NX', 'EX', 899) then return {} end
local out = {}

-- giveUp fails a job that nobody runs any more, or has it tried again. One whose
-- failure calls back into Python is left to a Python worker.
local function giveUp(id, text)
  local h = call('HMGET', jobKey(id), 'status', 'failure_callback_name', 'retries_left', 'data')
  if not h[4] then return true end
  if h[2] and h[2] ~= '' then return false end
  local left = tonumber(h[3] or nil) or 0
  if left > 0 then
    call('HSET', jobKey(id), 'retries_left', left - 1)
    queued(id, queue)
  else
    local ttl = ttlOf(id, 'failure_ttl', 31536000)
    call('HSET', jobKey(id), 'status', 'failed', 'ended_at', iso)
    outcome(id, 2, ttl, '', 'exc_string', text)
    call('ZADD', 'rq:failed:' .. queue, ttl < 0 and -1 or second + ttl, id)
    ending(id, ttl)
    release(id)
  end
  out[#out + 1] = id
  return true
end

for _, name in ipairs({'finished', 'failed'}) do call('ZREMRANGEBYSCORE', 'rq:' .. name .. ':' .. queue, 0, second) end
for _, member in ipairs(call('ZRANGEBYSCORE', 'rq:wip:' .. queue, 0, second)) do
  local id = string.match(member, '^[^:]*')
  if call('HGET', jobKey(id), 'status') ~= 'started' or giveUp(id, ARGV[5]) then call('ZREM', 'rq:wip:' .. queue, member) end
end
for _, id in ipairs(call('LRANGE', queueKey(queue) .. ':intermediate', 0, -1)) do
  local seen = queueKey(queue) .. ':intermediate:first_seen:' .. id
  local at = tonumber(call('GET', seen) or nil)
  if not at then
    call('SET', seen, ARGV[1], 'NX', 'EX', 86400)
  elseif now - at > 60 then
    local status = call('HGET', jobKey(id), 'status')
    if status == 'started' or giveUp(id, ARGV[6]) then
      call('LREM', queueKey(queue) .. ':intermediate', 1, id)
      call('DEL', seen)
    end
  end
end
for _, list in ipairs({'rq:workers', 'rq:workers:' .. queue}) do
  for _, key in ipairs(call('SMEMBERS', list)) do
    if call('EXISTS', key) == 0 then call('SREM', list, key) end
  end
end
call('DEL', lock)
return out
