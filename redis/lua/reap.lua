-- Declares one session dead, unless its counter has moved.
--
-- KEYS 22 control list of the session.
-- ARGV 8 session, 9 counter observed (-1: its own process ends it), 10 tasks at most in this call.
-- Returns compact (k alive or unknown, m more to do, r reaped), lines to wake.
local function run()
  local session = ARGV[8]
  local had = call('HGET', SESSIONS, session)
  local observed = tonumber(ARGV[9])
  if not had or observed >= 0 and unstruct('>I6', had) ~= observed then return 'k' end
  local n = 0
  while n < tonumber(ARGV[10]) do
    local member = call('ZRANGEBYLEX', GRANTS, '[' .. session, '[' .. session .. '\255', 'LIMIT', 0, 1)[1]
    if not member then break end
    local list = {}
    for at = 31, #member, 16 do list[#list + 1] = sub(member, at, at + 15) end
    for _, r in ipairs(load(list)) do
      if r and r.st == RUNNING and sub(r.run, 9, 30) == sub(member, 1, 22) then giveback(r, 7) end
    end
    call('ZREM', GRANTS, member)
    n = n + #list
  end
  flush()
  if n >= tonumber(ARGV[10]) then return 'm' end
  call('HDEL', SESSIONS, session)
  call('DEL', KEYS[22])
  return 'r'
end
local function expand(compact) return {compact, linenames(woken)} end
return numbered(run, expand)
