// Package drill records what was asked of a fleet of nodes, what it answered and
// what was done to it, and checks from that record alone whether the fleet kept
// its promises.
//
// A [History] is filled by whoever drives the nodes: a simulation with virtual
// time on one goroutine, or clients that talk to real processes. The more it
// holds, the more [Check] can see; what was not recorded is never guessed. A
// check speaks up only for what no correct fleet could have produced, so an
// answer that was lost counts neither as given nor as withheld.
package drill
