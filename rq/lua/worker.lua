-- worker keeps what RQ knows of a worker.
-- ARGV 3: what; 4: name of the worker; 5: number n of queues; then n queues; then
-- what the command needs.
local what, name, count = ARGV[3], ARGV[4], tonumber(ARGV[5])
local key, rest = 'rq:worker:' .. name, 6 + count
local list = {}
for i = 1, count do list[i] = ARGV[5 + i] end

-- enrol puts the worker on record. Fields: names and values from ARGV rest on.
local function enrol()
  call('DEL', key)
  local fields = {}
  for i = rest, #ARGV do fields[#fields + 1] = ARGV[i] end
  call('HSET', key, 'birth', iso, 'last_heartbeat', iso, 'queues', table.concat(list, ','), 'state', 'idle', unpack(fields))
  call('SADD', 'rq:workers', key)
  for _, q in ipairs(list) do call('SADD', 'rq:workers:' .. q, key) end
  call('EXPIRE', key, 480)
end

if what == 'birth' then
  if call('EXISTS', key) == 1 and call('HEXISTS', key, 'death') == 0 then return {'taken'} end
  enrol()
elseif what == 'beat' then
  -- Returns {"ok", 1 if workers are to pause}.
  if call('HEXISTS', key, 'birth') == 0 then enrol() end -- Redis has lost it
  local suspended = call('EXISTS', 'rq:suspended')
  call('HSET', key, 'last_heartbeat', iso, 'state', suspended == 1 and 'suspended' or 'idle')
  call('EXPIRE', key, 480)
  return {'ok', suspended}
elseif what == 'death' then
  call('SREM', 'rq:workers', key)
  for _, q in ipairs(list) do call('SREM', 'rq:workers:' .. q, key) end
  if call('EXISTS', key) == 1 then
    call('HSET', key, 'death', iso)
    call('EXPIRE', key, 60)
  end
end
return {'ok', 0}
