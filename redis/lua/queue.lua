-- Creates a queue or changes its settings.
--
-- ARGV 8 name, 9 paused (0, 1), 10 concurrency, 11 starts, 12 period (1 second,
-- 2 minute, 3 hour; 0 none); '' leaves a setting as it is; 13 the version under
-- which lost settings are put back, unless the stored one is as large ('': none).
-- Returns compact (paused 1, concurrency 4, starts 4, period 1, version 6),
-- types to wake.
local function run()
  local q = numbers(1, 0, 8, true)[1]
  local paused, conc, count, per, version = 0, 0, 0, 0, 0
  local old = call('HGET', QUEUES, q)
  if old then paused, conc, count, per, version = unstruct('>BI4I4BI6', old) end
  local restored = tonumber(ARGV[13]) or 0
  if restored > 0 and version >= restored then return old end
  if ARGV[9] ~= '' then paused = tonumber(ARGV[9]) end
  if ARGV[10] ~= '' then conc = tonumber(ARGV[10]) end
  if ARGV[11] ~= '' then
    local n, p = tonumber(ARGV[11]), tonumber(ARGV[12])
    if n ~= count or p ~= per then
      count, per = n, p
      local t = call('TIME')
      call('HSET', QUEUES, q .. 'b', string.format('%d %d', count, t[1] * 1000 + floor(t[2] / 1000)))
    end
  end
  local cfg = pack('>BI4I4BI6', paused, conc, count, per, max(version + 1, restored))
  call('HSET', QUEUES, q, cfg)
  call('HSET', SESSIONS, 'q', nowns) -- a beat brings it
  local waiting = call('HGETALL', WAITING)
  for i = 1, #waiting, 2 do
    local wq, t = unstruct('>I3I3', waiting[i])
    if wq == q then woken[t] = true end
  end
  return cfg
end
local function expand(compact) return {compact, typenames(woken)} end
return numbered(run, expand)
