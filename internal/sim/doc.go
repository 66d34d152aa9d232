// Package sim runs a fleet of nodes around one shared engine in virtual time, on
// one goroutine, with everything that may go wrong chosen by a seed: calls that
// are lost, applied without an answer, late, refused or frozen, disks that are
// full or fail, and nodes that crash. What clients and workers see is recorded
// as a drill.History, and checked from that alone. A seed replays exactly.
//
// The nodes are behind [Node], so that the core of a real node is what runs. A
// node must not start a goroutine, look at a clock or draw a random number of
// its own, nor do anything in the order of a map.
package sim
