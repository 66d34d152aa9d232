-- import hands jobs over to another system.
-- ARGV 3: what; 4: id.
local what, id = ARGV[3], ARGV[4]
local h = call('HMGET', jobKey(id), 'status', 'origin', 'data', 'morningai_import')
if not h[3] then return {'gone'} end
local status, queue, held = h[1] or '', h[2] or '', h[4]

if what == 'hold' then
  -- Takes a job out of where RQ would run it. Where it was stays on record, so
  -- that an import that was cut off can be taken up again.
  if held then return {'held', held} end
  local due = ''
  if status == 'queued' then
    if call('LREM', queueKey(queue), 1, id) == 0 then return {'gone'} end
  elseif status == 'scheduled' then
    due = call('ZSCORE', 'rq:scheduled:' .. queue, id) or ''
    call('ZREM', 'rq:scheduled:' .. queue, id)
  elseif status == 'failed' then
    due = call('ZSCORE', 'rq:failed:' .. queue, id) or ''
    call('ZREM', 'rq:failed:' .. queue, id)
  else
    return {'gone'}
  end
  call('HSET', jobKey(id), 'status', 'deferred', 'morningai_import', status .. ' ' .. due)
  call('ZADD', 'rq:deferred:' .. queue, '+inf', id)
  return {'held', status .. ' ' .. due}
end
if not held then return {'gone'} end
call('ZREM', 'rq:deferred:' .. queue, id)
if what == 'remove' then
  call('DEL', jobKey(id), childrenKey(id), parentsKey(id), resultsKey(id))
  return {'removed'}
end
-- back: puts it where it was, in front of the others.
local was, due = string.match(held, '^(%S*) (.*)$')
call('HDEL', jobKey(id), 'morningai_import')
call('HSET', jobKey(id), 'status', was)
if was == 'queued' then call('LPUSH', queueKey(queue), id)
else call('ZADD', 'rq:' .. was .. ':' .. queue, due ~= '' and due or second, id) end
return {'back'}
