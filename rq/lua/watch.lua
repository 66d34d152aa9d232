-- watch looks at jobs that were sent.
-- ARGV 3: what.
local what = ARGV[3]

-- entry is the deadline of a job among those in progress, whichever form its entry
-- has; nil if it has none.
local function entry(id, queue)
  local best = tonumber(call('ZSCORE', 'rq:wip:' .. queue, id) or nil)
  for _, execution in ipairs(call('ZRANGE', 'rq:executions:' .. id, 0, -1)) do
    local at = tonumber(call('ZSCORE', 'rq:wip:' .. queue, id .. ':' .. execution) or nil)
    if at and (not best or at > best) then best = at end
  end
  return best
end

-- overdue says that nobody runs a job that is on record as started: its deadline,
-- or its last sign of life if it has none, is long over.
local function overdue(id, queue, beat, stale)
  local at = entry(id, queue)
  if at then return at < now - 60 end
  return (beat or '') < stale
end

if what == 'look' then
  -- ARGV 4: a moment as RQ writes it, long ago for a sign of life; then ids.
  -- Returns for each id {status or "", 1 if it may have started or may any moment,
  -- 1 if nobody runs it any more}.
  local out, fronts = {}, {}
  -- front: the ids that workers may begin with before the next look.
  local function front(queue)
    if not fronts[queue] then
      fronts[queue] = {}
      if call('SCARD', 'rq:workers:' .. queue) > 0 then
        for _, id in ipairs(call('LRANGE', queueKey(queue), 0, 99)) do fronts[queue][id] = true end
      end
    end
    return fronts[queue]
  end
  for i = 5, #ARGV do
    local id = ARGV[i]
    local h = call('HMGET', jobKey(id), 'status', 'origin', 'last_heartbeat')
    local status, queue = h[1] or '', h[2] or ''
    local begun = status ~= '' and (status ~= 'queued' and status ~= 'scheduled' and status ~= 'deferred' or front(queue)[id])
    out[#out + 1] = {status, begun and 1 or 0, status == 'started' and overdue(id, queue, h[3], ARGV[4]) and 1 or 0}
  end
  return out
end

local id = ARGV[4]
local h = call('HMGET', jobKey(id), 'status', 'origin', 'last_heartbeat', 'morningai_life')
if not h[4] then return {'foreign'} end
if what == 'give up' then
  -- ARGV 5: the moment as above; 6: traceback.
  if h[1] ~= 'started' or not overdue(id, h[2], h[3], ARGV[5]) then return {'alive'} end
  for _, member in ipairs(call('ZRANGE', 'rq:executions:' .. id, 0, -1)) do call('ZREM', 'rq:wip:' .. h[2], id .. ':' .. member) end
  call('ZREM', 'rq:wip:' .. h[2], id)
  local ttl = ttlOf(id, 'failure_ttl', 31536000)
  call('HSET', jobKey(id), 'status', 'failed', 'ended_at', iso)
  outcome(id, 2, ttl, '', 'exc_string', ARGV[6])
  call('ZADD', 'rq:failed:' .. h[2], ttl < 0 and -1 or second + ttl, id)
  ending(id, ttl)
  release(id)
  return {'failed'}
end
if what == 'withdraw' then
  -- ARGV 5: the fleet, or "". Returns {status}.
  local fleet = call('HGET', jobKey(id), 'morningai_fleet')
  if fleet and ARGV[5] ~= '' and fleet ~= ARGV[5] then return {'foreign'} end
  return {h[1] or ''}
end
-- settle: ARGV 5: seconds that a finished job stays from now on.
if h[1] == 'finished' then
  local ttl = tonumber(ARGV[5])
  call('ZADD', 'rq:finished:' .. h[2], 'XX', second + ttl, id)
  ending(id, ttl)
  call('EXPIRE', resultsKey(id), ttl)
end
return {'settled'}
