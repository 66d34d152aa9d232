-- What the scripts share. The keys are RQ's own; RQ does not work on a Cluster, so
-- that they need not be declared.
-- ARGV 1: the present time in seconds; 2: the same as RQ writes it.
local now, iso = tonumber(ARGV[1]), ARGV[2]
local second = math.floor(now)
local call = redis.call

local function jobKey(id) return 'rq:job:' .. id end
local function childrenKey(id) return 'rq:job:' .. id .. ':dependents' end
local function parentsKey(id) return 'rq:job::' .. id .. ':dependencies' end
local function resultsKey(id) return 'rq:results:' .. id end
local function queueKey(q) return 'rq:queue:' .. q end

-- queued puts a job into its queue.
local function queued(id, queue, front)
  call('SADD', 'rq:queues', queueKey(queue))
  call('HSET', jobKey(id), 'status', 'queued', 'enqueued_at', iso)
  call(front and 'LPUSH' or 'RPUSH', queueKey(queue), id)
end

-- met says whether every parent of a job has ended as it must have. A parent that
-- is gone had finished: its result was removed.
local function met(id, anyEnd)
  for _, parent in ipairs(call('SMEMBERS', parentsKey(id))) do
    local status = call('HGET', jobKey(parent), 'status')
    if status and status ~= 'finished' and not (anyEnd and status == 'failed') then return false end
  end
  return true
end

-- release queues the children of a job that has ended and wait for nothing else.
local function release(id)
  for _, child in ipairs(call('SMEMBERS', childrenKey(id))) do
    local h = call('HMGET', jobKey(child), 'status', 'origin', 'enqueue_at_front', 'allow_dependency_failures')
    if not h[2] then
      call('SREM', childrenKey(id), child)
    elseif h[1] == 'deferred' and met(child, h[4] == '1') then
      call('ZREM', 'rq:deferred:' .. h[2], child)
      call('SREM', childrenKey(id), child)
      queued(child, h[2], h[3] == '1')
    end
  end
end

-- ending sets how long an ended job and what belongs to it stay.
local function ending(id, ttl)
  for _, key in ipairs({jobKey(id), childrenKey(id), parentsKey(id)}) do
    if ttl >= 0 then call('EXPIRE', key, ttl) else call('PERSIST', key) end
  end
end

-- leave takes a job out of everything that says where it is.
local function leave(id, queue)
  call('LREM', queueKey(queue), 0, id)
  call('LREM', queueKey(queue) .. ':intermediate', 0, id)
  for _, name in ipairs({'scheduled', 'deferred', 'finished', 'failed', 'canceled'}) do
    call('ZREM', 'rq:' .. name .. ':' .. queue, id)
  end
end

-- outcome adds a result entry.
local function outcome(id, kind, ttl, worker, ...)
  call('XADD', resultsKey(id), 'MAXLEN', '~', 10, '*', 'type', kind, 'worker_name', worker, ...)
  if ttl >= 0 then call('EXPIRE', resultsKey(id), ttl) else call('PERSIST', resultsKey(id)) end
end

local function ttlOf(id, field, standard)
  return tonumber(call('HGET', jobKey(id), field) or nil) or standard
end
