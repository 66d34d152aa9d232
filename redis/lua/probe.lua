-- A write through the path that every write takes. Returns compact p.
local function run()
  call('HSET', META, 'probe', ARGV[4])
  return 'p'
end
return numbered(run, plain)
