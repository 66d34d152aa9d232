-- Shared by every script; Go puts it in front of each. A script sees one
-- partition only: all its keys carry the same hash tag.
--
-- KEYS 1..21, the same for every script (kinds and contents):
--   meta HASH next (seq), ev, format, partitions, data, epoch, lineage, lost (see
--     open.lua), e and a journal that has left -> its edition, mend (see mend.lua), whole (see witness.lua), torn (see torn.lua),
--     n and a field of names -> number, generation and unfinished (restores)
--   lanes HASH lane (its name begins with the lineage) -> number, hash, reply; * -> lineage
--   names HASH name <-> number                tasks HASH id -> record, once something
--     but a first start has happened to it; block -> its tasks under way for the first
--     time (see block.lua)
--   specs HASH id -> what the producer asked for, and where the task was seated
--   extra HASH id+kind -> history, steps, progress, logs
--   chunks HASH block -> up to 32 ids in order of acceptance, 8 blocks a chunk; a task's seq is
--     chunk * 256 + its place, a chunk's number the time of its first task
--   ready ZSET (lex) queue,type,priority,chunk    bits HASH the same -> 256 bits,
--     and 256 more where some of these tasks are to be looked at: they may have a record, or
--     are long
--   waiting HASH queue,type -> queued tasks   due ZSET id by due time in ms; running
--     tasks that no session answers for, by the end of their grace time
--   counts HASH state,queue -> tasks; kind, 5 s bucket -> how many of late          cells HASH state,queue,type,chunk -> tasks
--   index ZSET (lex) the cells that are not 0 unique HASH key -> id of the live holder
--   purge ZSET ids of one batch by the time they may go
--   events STREAM one entry per batch: ns 8, then what happened: kind 1, type 3, queue 3,
--     state 1, attempt 4, version 4, to how many tasks 2, their ids;         sessions HASH session -> counter,
--     details; session,seq -> unfinished grants of one reply; in partition 0,
--     m,journal -> what is known of the node that keeps it; q -> when the
--     settings of a queue were changed last; w -> when somebody looked whether a key
--     is gone; * -> lineage, epoch
--   grants ZSET (lex) session,seq,lease,ids         cancels HASH id -> session, told
--   queues HASH queue -> settings, bucket
-- KEYS 22.. control lists, and wake lists, one token each: of a type for sessions that
-- serve all queues, of a type and a queue for those that serve some.
--
-- ARGV 1..7, the same for every script: lane ('' for a call without one),
-- number (r: the caller only looks, and nothing is written), hash of the call, the
-- caller's wall clock in ms, the same in ns as 8 bytes, and how long ended tasks
-- stay: succeeded, others, in ms.
--
-- A script returns a list whose first item is its compact reply, the part that
-- the lane keeps for a repeat; or {'!gap', stored number, stored hash}.
local call, pack, unstruct = redis.call, struct.pack, struct.unpack
local sub, char, byte, concat, floor, max, min = string.sub, string.char, string.byte, table.concat, math.floor, math.max, math.min
local band, bor = bit.band, bit.bor
local META, LANES, NAMES, TASKS, SPECS, EXTRA, CHUNKS, READY, BITS, WAITING, DUE, COUNTS, CELLS, INDEX, UNIQUE, PURGE, EVENTS,
  SESSIONS, GRANTS, CANCELS, QUEUES = unpack(KEYS, 1, 21)
local now, nowns = tonumber(ARGV[4]), ARGV[5]
local NOBODY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- no session, no grant

-- What a script changes is gathered and written once per batch by flush.
local dirty, dirtied = {}, {}
local dcount, dcell, dwait, dbits, dopen, dflow = {}, {}, {}, {}, {}, {}
local dueadd, duerem, gone, keep, evs = {}, {}, {}, {}, {}
local woken = {} -- lines (queue,type) that were empty and are not any more: which lists wake for them (b both, t type, q queue)
local loaded = {} -- records by id, taken apart
local writerecords -- writes those that have changed
local bitsread = {} -- what bits has, where it was read
local nextseq, lastev -- what meta is to have, if tasks were seated
local freed = {} -- queues that have a place more
