-- A write through the path that every write takes. A key that holds something of
-- another kind is an error which names it.
-- ARGV 8 lane and acknowledged number in turn, to compare.
-- Returns compact p, how many lanes have less stored than was acknowledged,
-- and how many keys are gone.
local strange = refuse()
if strange then return strange end
local function run()
  call('HSET', META, 'probe', ARGV[4])
  return 'p'
end
local function expand(compact)
  local ids, _, behind = {}, missed()
  for i = 8, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  if #ids > 0 then
    for i, v in ipairs(call('HMGET', LANES, unpack(ids))) do
      if (v and unstruct('>I6', v) or 0) < tonumber(ARGV[7 + 2 * i]) then behind = behind + 1 end
    end
  end
  return {compact, tostring(behind)}
end
return numbered(run, expand)
