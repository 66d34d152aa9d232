-- Reads records by id. ARGV 8 whether all that is kept outside of them is
-- wanted (0, 1), 9.. ids. Returns compact (empty; !gap if a key is gone), names,
-- records, extras.
if ARGV[2] ~= 'r' and (not call('HGET', TASKS, '') or not call('HGET', SPECS, '') or not call('HGET', LANES, '*')) then return {'!gap'} end
local ids = {}
for i = 9, #ARGV do ids[#ids + 1] = ARGV[i] end
local names, vals = values(ids)
return {'', names, vals, extras(vals, ARGV[8] == '1')}
