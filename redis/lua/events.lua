-- Events after a cursor. ARGV 8 entry ('' asks only for the last one), 9 entries at most.
-- Returns compact (x expired, or the last entry there is), numbers and names,
-- entries: number and content in turn.
local last = tonumber(call('HGET', META, 'ev') or 0)
if ARGV[8] == '' then return {string.format('%d', last), {}, {}} end
local after = tonumber(ARGV[8])
if after > last then return {'x', {}, {}} end
local got, out, recs = call('XRANGE', EVENTS, string.format('%d-0', after + 1), '+', 'COUNT', tonumber(ARGV[9])), {}, {}
local seen = {}
for i, e in ipairs(got) do
  local n = tonumber(string.match(e[1], '^(%d+)'))
  if i == 1 and n > after + 1 then return {'x', {}, {}} end
  out[#out + 1] = tostring(n)
  out[#out + 1] = e[2][2]
  local text, at = e[2][2], 9
  while at < #text do -- see base.lua
    local key = sub(text, at + 1, at + 6)
    at = at + 18 + 16 * unstruct('>H', text, at + 16)
    if not seen[key] then
      seen[key] = true
      local t, q = unstruct('>I3I3', key)
      recs[#recs + 1] = {q = q, t = t}
    end
  end
end
if #got == 0 and after < last then return {'x', {}, {}} end
return {string.format('%d', last), named(recs), out}
