-- Reads records by id. ARGV 8 whether all that is kept outside of them is
-- wanted (0, 1), 9.. ids. Returns compact (empty), names, records, extras.
local ids = {}
for i = 9, #ARGV do ids[#ids + 1] = ARGV[i] end
local names, vals = values(ids)
return {'', names, vals, extras(vals, ARGV[8] == '1')}
