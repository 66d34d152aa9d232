-- One page of whole records in order of acceptance.
-- ARGV 8 from this number on, 9 records at most.
-- Returns compact (the number to go on from, or e at the end; !gap if a key is gone), names, records,
-- extras.
if vanished() then return {'!gap'} end
local from, limit = tonumber(ARGV[8]), tonumber(ARGV[9])
local ids, nextone = {}, nil
local lo = '[' .. pack('>BI3I3I6', 0, 0, 0, floor(from / 256))
while not nextone do
  local m = call('ZRANGEBYLEX', INDEX, lo, '(\1', 'LIMIT', 0, 1)[1]
  if not m then break end
  local chunk = unstruct('>I6', m, 8)
  local list = idsof(chunk)
  for s = max(from, chunk * 256), chunk * 256 + #list / 16 - 1 do
    local id = sub(list, s % 256 * 16 + 1, s % 256 * 16 + 16)
    local head = read({id})[1]
    if head and unstruct('>I7', head, 10) == s and band(unstruct('>H', head, 2), F_HIDDEN) == 0 then
      if #ids == limit then nextone = s; break end
      ids[#ids + 1] = id
    end
  end
  lo = '(' .. m
end
local names, vals = values(ids)
return {nextone and string.format('%d', nextone) or 'e', names, vals, extras(vals, true)}
