-- What enqueue.lua needs when something is not as usual: a task that is due
-- later, a unique key, an id that is known. Returns these functions.
local function scheduled(r)
  tally(r, 1)
  touch(r)
  event(E_SCHEDULED, r)
end
return {scheduled = scheduled, uniquekey = uniquekey, values = values, extras = extras}
