-- Creates a queue or changes its settings.
--
-- ARGV 8 name, 9 paused (0, 1), 10 concurrency, 11 starts, 12 period (1 second,
-- 2 minute, 3 hour; 0 none); '' leaves a setting as it is; 13 when the change
-- was given, in ms, unless it is now (''): what was changed later stays.
-- Returns compact (paused 1, concurrency 4, starts 4, period 1, version 6, and when
-- paused, concurrency and rate were changed, 6 each), lines to wake.
local function run()
  local q = numbers(1, 0, 8, true)[1]
  local paused, conc, count, per, version, pauseset, concset, rateset = 0, 0, 0, 0, 0, 0, 0, 0
  local old = call('HGET', QUEUES, q)
  if old then
    old = old .. string.rep(char(0), 34 - #old)
    paused, conc, count, per, version, pauseset, concset, rateset = unstruct('>BI4I4BI6I6I6I6', old)
  end
  local at, taken = tonumber(ARGV[13]), not old
  -- follows gives the new time of a setting, or nil if it was changed later.
  local function follows(last, safe)
    if at and (at < last or at == last and not safe) then return end
    taken = true
    return at or max(now, last + 1)
  end
  local t = ARGV[9] ~= '' and follows(pauseset, ARGV[9] == '1')
  if t then paused, pauseset = tonumber(ARGV[9]), t end
  t = ARGV[10] ~= '' and follows(concset)
  if t then conc, concset = tonumber(ARGV[10]), t end
  t = ARGV[11] ~= '' and follows(rateset)
  if t then
    rateset = t
    local n, p = tonumber(ARGV[11]), tonumber(ARGV[12])
    if n ~= count or p ~= per then
      count, per = n, p
      local t = call('TIME')
      call('HSET', QUEUES, q .. 'b', string.format('%d %d', count, t[1] * 1000 + floor(t[2] / 1000)))
    end
  end
  if not taken then return old end
  local cfg = pack('>BI4I4BI6I6I6I6', paused, conc, count, per, version + 1, pauseset, concset, rateset)
  call('HSET', QUEUES, q, cfg)
  call('HSET', SESSIONS, 'q', nowns) -- a beat brings it
  local waiting = call('HGETALL', WAITING)
  for i = 1, #waiting, 2 do
    if unstruct('>I3', waiting[i]) == q then woken[waiting[i]] = 'b' end
  end
  return cfg
end
local function expand(compact) return {compact, linenames(woken)} end
return numbered(run, expand)
