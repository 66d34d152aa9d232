// Package redis is the engine on Redis or Valkey: one fleet of tasks that any
// number of nodes share.
//
// # What holds
//
// Every write is a Lua script that takes a batch, is atomic and may be sent
// again. The calls of a lane are numbered, and Redis keeps the number and the
// reply of the last one: a call sent twice because its answer was lost is
// applied once, and a number that does not follow shows that Redis has lost
// writes. Every claim of a task carries a growing number and a random lease,
// so that outcomes of superseded claims are refused.
//
// A write that returned without error is in the memory of the Redis primary
// that answered. How much of it survives a crash or a failover is a matter of
// that server's persistence and replication; this engine alone does not add to
// it. While Redis cannot be reached, calls return an error whose code is
// [CodeUnavailable], within the time that [WithTimeout] sets, and what they
// asked for may or may not have been applied: repeat them with the same ids.
// With [WithDeferredStart] Redis may be away when the engine is opened.
//
// # Layout
//
// All keys begin with a prefix and the partition, "mai:{0}:", so that a script
// touches one slot of a Cluster. One hash holds all tasks as packed values;
// ready tasks are bits in bitmaps over blocks of 256 tasks, counted and listed
// by cells of (state, queue, type, block); a batch writes one event entry, and
// ended tasks are removed batch by batch. The first lines of lua/base.lua
// describe each key. Keys of others are never touched.
package redis
