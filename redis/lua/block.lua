-- Shared by every script, after flush.lua: tasks under way for the first time. They
-- have no record yet. What a hand-out says of its tasks stands once for those that share
-- a block of chunks, under the block's name in tasks (chunk 6, block of the chunk 1):
-- entries of a mask of places 4, length 1 of the rest, and what a record says of a
-- hand-out (see common.lua). The first thing that happens to such a task writes its
-- record and takes its place out of the mask.
local blocks, firsts = {}, {} -- blocks by name; of tasks without a record: name and place
local function openblocks(names)
  local want = {}
  for _, b in ipairs(names) do
    if not blocks[b] then blocks[b] = {}; want[#want + 1] = b end
  end
  if #want == 0 then return end
  for i, v in ipairs(call('HMGET', TASKS, unpack(want))) do
    local entries, at = blocks[want[i]], 1
    while v and at < #v do
      local mask, n = unstruct('>I4B', v, at)
      entries[#entries + 1] = {mask = mask, run = sub(v, at + 5, at + 4 + n), lease = sub(v, at + 5, at + 12), grant = sub(v, at + 13, at + 34)}
      at = at + 5 + n
    end
  end
end
-- blockof returns the name of a task's block and its place there, by its seat.
local function blockof(seat)
  local n = byte(seat, -1)
  return sub(seat, -7, -2) .. char(floor(n / 32)), n % 32
end
-- holder returns the entry that has a place, if there is one.
local function holder(entries, place)
  local m = 2 ^ place
  for _, e in ipairs(entries) do
    if floor(e.mask / m) % 2 == 1 then return e, m end
  end
end
local function vacate(b, place)
  local e, m = holder(blocks[b], place)
  if e then
    e.mask = e.mask - m
    blocks[b].changed = true
  end
end
-- flushblocks adds what is to be written of the blocks to a list of fields.
local function flushblocks(args)
  local empty = {}
  for b, entries in pairs(blocks) do
    if entries.changed then
      local parts = {}
      for _, e in ipairs(entries) do
        if e.mask > 0 then parts[#parts + 1] = pack('>I4B', e.mask, #e.run) .. e.run end
      end
      if #parts > 0 then args[#args + 1] = b; args[#args + 1] = concat(parts) else empty[#empty + 1] = b end
      entries.changed = nil
    end
  end
  if #empty > 0 then call('HDEL', TASKS, unpack(empty)) end
end
