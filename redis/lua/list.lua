-- One page of tasks, newest first, found through the index of cells.
--
-- ARGV 8 state (0 any, 8 retrying), 9 queue, 10 type, 11 trace id ('' any),
-- 12 tasks at most, 13 only those before this number (-1: all), 14 records to
-- look at in this call, 15 bytes at most.
-- Returns compact (a state letter and the number to go on before: m more, b as
-- many records were looked at, e the end; !gap if a key is gone), names, records, extras.
if vanished() then return {'!gap'} end
local st, limit, before, budget, cap = tonumber(ARGV[8]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local qn, tn = numbers(1, 1, 9)
local q, t = ARGV[9] == '' and 0 or qn[1], ARGV[10] == '' and 0 or tn[1]
local trace = ARGV[11]
if not q or not t then return {'e0', {}, {}, {}} end
if before < 0 then before = tonumber(call('HGET', META, 'next') or 0) end

local cells, lo = {}, '[' .. char(st == 0 and 1 or st)
while true do
  local m = call('ZRANGEBYLEX', INDEX, lo, st == 0 and '(' .. char(RETRYING) or '(' .. char(st + 1), 'LIMIT', 0, 1)[1]
  if not m then break end
  local _, mq, mt = unstruct('>BI3I3', m)
  if (q == 0 or mq == q) and (t == 0 or mt == t) then cells[#cells + 1] = {prefix = sub(m, 1, 7), chunk = math.huge} end
  lo = '(' .. sub(m, 1, 7) .. string.rep('\255', 7)
end
local out, recs, bytes, looked = {}, {}, 0, 0
local status = 'e'
local chunk = floor((before - 1) / 256)
while before > 0 and status == 'e' do
  local best = -1
  for _, c in ipairs(cells) do
    if c.chunk > chunk then
      local m = call('ZREVRANGEBYLEX', INDEX, '[' .. c.prefix .. pack('>I6', chunk), '[' .. c.prefix, 'LIMIT', 0, 1)[1]
      c.chunk = m and unstruct('>I6', m, 8) or -1
    end
    best = max(best, c.chunk)
  end
  if best < 0 then break end
  chunk = best
  local ids, from = idsof(chunk), min(before - 1, chunk * 256 + 255)
  for top = from, chunk * 256, -32 do
    local want, seat = {}, {}
    for s = top, max(top - 31, chunk * 256), -1 do
      local id = sub(ids, s % 256 * 16 + 1, s % 256 * 16 + 16)
      if #id == 16 then want[#want + 1] = id; seat[#want] = s end
    end
    local got, specs = {}, {}
    if #want > 0 then got, specs = read(want) end
    for i, v in ipairs(got) do
      if v then
        local r = decode(want[i], v)
        r.spec = specs[i]
        local ok = r.seq == seat[i] and not has(r, F_DELETED) and not has(r, F_HIDDEN) and not over(r)
          and (st == 0 or r.st == st or st == RETRYING and r.st == SCHEDULED and r.fail > 0)
          and (q == 0 or r.q == q) and (t == 0 or r.t == t)
        if ok and trace ~= '' then
          local o = has(r, F_RETENTION) and 9 or 1
          if has(r, F_UNIQUE) then o = o + 2 + unstruct('>H', specof(r), o) end
          local theirs = byte(specof(r), o + 1) % 2 == 1 and sub(r.spec, o + 2, o + 17) or r.id
          ok = theirs == trace
        end
        looked = looked + 1
        if ok then
          if #recs == limit or bytes > cap then status = 'm'; break end
          recs[#recs + 1] = r
          out[#out + 1] = r.id
          out[#out + 1] = v
          out[#out + 1] = specof(r)
          bytes = bytes + #v + #r.spec
        end
        before = seat[i]
      end
    end
    if status ~= 'e' then break end
    if looked >= budget then status = 'b'; break end
  end
  if status == 'e' then
    before = chunk * 256
    chunk = chunk - 1
  end
end
return {status .. string.format('%d', before), named(recs), out, extras(out, false)}
