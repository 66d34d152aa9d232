-- push hands a job to RQ, once per id.
-- ARGV 3: id; 4: queue; 5: unix second when it is due, or ""; 6: "1" to put it in
-- front; 7: name of the sender, or ""; 8: its life, with a sender; 9 and 10: sender
-- and number of the push that is known to have been, or ""; 11: the highest number
-- that this sender was told; 12: the fleet that it belongs to, or ""; 13: number n of
-- parents; then n parents; then names and values of the job's hash.
-- Returns {"pushed"}, {"exists", status}, {"no parent"}; with a sender also
-- {"foreign"}, {"deleted"}, {"lost"}, and {"pushed" or "exists", status, sender,
-- number}: the number of the push, which Redis counts for each sender beside RQ's
-- data, with the second of the last one. A count below a number that was told shows
-- that Redis has lost what it had taken; a sender that sees it ("lost") goes on under
-- another name, so that its old count stays low. The counts that were longest out of
-- use leave when there are too many.
local id, queue, due, front, sender, life = ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7], ARGV[8]
local knownSender, knownNumber = ARGV[9], tonumber(ARGV[10]) or 0
local fleet, count, sent = ARGV[12], tonumber(ARGV[13]), 'morningai:rq:sent'

-- countOf is how many pushes of a sender are on record.
local function countOf(name)
  return tonumber(string.match(call('HGET', sent, name) or '', '^%d+') or nil) or 0
end

-- makeRoom forgets senders of long ago, so that each start of a server does not
-- leave one more for ever.
local function makeRoom()
  local most, ages = 1000, {}
  if call('HLEN', sent) < most then return end
  local all = call('HGETALL', sent)
  for i = 1, #all, 2 do ages[#ages + 1] = {all[i], tonumber(string.match(all[i + 1], ' (%d+)$') or nil) or 0} end
  table.sort(ages, function(a, b) if a[2] ~= b[2] then return a[2] < b[2] end return a[1] < b[1] end)
  for i = 1, #ages - most * 9 / 10 do call('HDEL', sent, ages[i][1]) end
end

if sender ~= '' and countOf(sender) < tonumber(ARGV[11]) then return {'lost'} end
local there = call('HMGET', jobKey(id), 'status', 'morningai_life', 'origin', 'data', 'morningai_sent', 'morningai_fleet')
if there[1] or there[3] or there[4] then
  if sender == '' then return {'exists', there[1] or ''} end
  if not there[2] or not there[5] or (there[6] or fleet) ~= fleet and fleet ~= '' then return {'foreign'} end
  if tonumber(there[2]) >= tonumber(life) then
    local by, number = string.match(there[5], '^(%S+) (%d+)$')
    return {'exists', there[1] or '', by, tonumber(number)}
  end
  if there[1] == 'started' then return {'foreign'} end -- an earlier life that still runs
  leave(id, there[3] or queue) -- the same job, in another life
  call('DEL', jobKey(id), parentsKey(id), resultsKey(id))
elseif knownSender ~= '' and countOf(knownSender) >= knownNumber then
  return {'deleted'} -- Redis has it on record that it had the job
end
for i = 1, count do
  local status = call('HGET', jobKey(ARGV[13 + i]), 'status')
  if not status then return {'no parent'} end
end
local fields, number = {}, 0
for i = 14 + count, #ARGV do fields[#fields + 1] = ARGV[i] end
if sender ~= '' then
  number = countOf(sender) + 1
  if number == 1 then makeRoom() end
  call('HSET', sent, sender, number .. ' ' .. second)
  for _, v in ipairs({'morningai_life', life, 'morningai_sent', sender .. ' ' .. number}) do fields[#fields + 1] = v end
  if fleet ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'morningai_fleet', fleet
  end
end
call('SADD', 'rq:queues', queueKey(queue))
call('HSET', jobKey(id), unpack(fields))
for i = 1, count do call('SADD', parentsKey(id), ARGV[13 + i]) end
if count > 0 and not met(id, call('HGET', jobKey(id), 'allow_dependency_failures') == '1') then
  call('HSET', jobKey(id), 'status', 'deferred')
  call('ZADD', 'rq:deferred:' .. queue, '+inf', id) -- RQ 2 fails those whose score has passed
  for i = 1, count do call('SADD', childrenKey(ARGV[13 + i]), id) end
elseif due ~= '' then
  call('HSET', jobKey(id), 'status', 'scheduled')
  call('ZADD', 'rq:scheduled:' .. queue, due, id)
else
  queued(id, queue, front)
end
return {'pushed', call('HGET', jobKey(id), 'status'), sender, number}
