-- Records outcomes and checkpoints, then hands out tasks (see claim.lua): one call, so
-- that a worker's finish of the last batch and its claim of the next cost one trip.
--
-- KEYS 22.. wake list of each type that the claim serves; if it names queues, instead of
-- that the wake list of the type and each of these.
-- ARGV 8 reports, 9 checkpoints, 10 whether a claim follows (0, 1; 2: of a node
--   whose clock makes nothing due), 11 groups; then
--   groups of first successes of tasks under way for the first time, that were handed out
--     together from one block: how many 2, mask of their places 4, lease 8, queue 3, type 3,
--     block 7; and their ids;
--   the reports, those of the groups first: id and report in turn. Of the first success of a
--     task under way for the first time, the record that it gets. Of others 0, then the seat 16
--     (NUL if the caller does not know it), lease 8, claim 4, outcome 1,
--     attempt 4, flags 1 (1 error, 2 result), due us 8, length 1 of the hand-out
--     and 3 of the end as a success stores them, started 8 + node, length 3 of
--     the end's front part, it, the result;
--   a checkpoint: id 16, lease 8, claim 6, kind 1, name length 2, name, data;
--   a claim: session, seq, n, lease 8, started 8 + node, bytes at
--     most, number of queues, of types, queue names, type names, shares.
-- Returns compact, names, records, steps, lines to wake, extras. compact: a report's
-- letter (o recorded, r repeat, s stale, n unknown) and state digit, a
-- checkpoint's letter, then x for an unknown session or g, lease 8, number of grants 2,
-- their ids, number of cancels 2, ids, ms until more may be ready 6. A
-- claim that found nothing answers with - in front. A record that is '' is that of a task
-- which nothing has happened to but this claim; so has one that is not there at all, and the
-- caller reads its spec.
local function run()
  local nr, np, ng = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[11])
  local out, points, verdicts = {}, 11 + 2 * ng + 2 * nr, ''
  if nr + np > 0 and not sound() then return nil end
  -- Checkpoints first: a handler makes them before it ends.
  local ids = {}
  for i = 1, np do ids[i] = sub(ARGV[points + i], 1, 16) end
  if np > 0 then
    local u = unusual()
    for i, r in ipairs(u.load(ids)) do out[i] = u.checkpoint(r, ARGV[points + i]) end
  end
  if nr > 0 then verdicts = finish(nr, ng, 12) end
  local claims = ARGV[10] ~= '0'
  if not claims or #dirtied > 0 then -- a claim sees what the records have become
    flushhot()
    flush()
  end
  local qs = {}
  for q in pairs(freed) do qs[#qs + 1] = q end
  if #qs > 0 then
    local limited, any = {}, false
    for i, cfg in ipairs(configsof(qs)) do
      if cfg and unstruct('>I4', cfg, 2) > 0 then limited[qs[i]] = true; any = true end
    end
    if any then
      local waiting = call('HGETALL', WAITING)
      for i = 1, #waiting, 2 do
        local q = unstruct('>I3', waiting[i])
        if limited[q] then woken[waiting[i]] = 'b' end
      end
    end
  end
  if claims then
    local got = claim(points + np + 1, nr + np == 0)
    if not got then return nil end
    out[np + 1] = got
  end
  return verdicts .. concat(out)
end
local function expand(compact)
  local nr, np = tonumber(ARGV[8]), tonumber(ARGV[9])
  if sub(compact, 1, 1) == '-' then return {compact, {}, {}, {}, linenames(woken), {}} end
  local o = nr * 2 + np + 1
  if sub(compact, o, o) ~= 'g' then return {compact, {}, {}, {}, linenames(woken), {}} end
  local names, vals
  if handed then
    names, vals = named(used), handed
  else -- a repeat: the records as they are now
    local ids = {}
    for i = 1, unstruct('>H', compact, o + 9) do
      local at = o + 11 + (i - 1) * 16
      ids[i] = sub(compact, at, at + 15)
    end
    names, vals = unusual().values(ids)
    flagged = vals
  end
  if #flagged == 0 then return {compact, names, vals, {}, linenames(woken), {}} end
  return {compact, names, vals, unusual().stepsof(flagged), linenames(woken), unusual().extras(flagged, false)}
end
return numbered(run, expand, true)
