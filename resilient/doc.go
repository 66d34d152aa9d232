// Package resilient makes an outage of a shared engine a non-event for the node
// that has it. It is an engine over two others: one that nodes share, such as
// Redis, and the node's own journal.
//
// # What holds
//
// A task is acknowledged when it is on disk in the journal, or in the shared
// engine, or both, and the receipt says which. While the shared engine is away
// the circuit is open: new tasks go to the journal, those that this node can
// run are run here, and handlers that were running go on. Every outcome that
// the shared engine did not take is journaled and delivered afterwards, under
// the fence of its claim. Whoever reads is told how fresh the answer is, and
// what cannot be known is [morningai.ErrStatusUnknown], never "not found".
//
// Execution is at-least-once: a task that was running on a node which lost
// contact for longer than its lease may be handed to another one. Losing the
// disk of the journal while the shared engine is away loses what only the
// journal had. A shared engine that comes back with older data is given again
// what the journals have: tasks that have not ended, outcomes and orders, and the
// settings of queues. Of two changes of a setting that did not know
// of each other the later one holds.
//
// # How it is built
//
// The core decides everything and does nothing: it is stepped with an event and
// the time, and returns effects. The shell around it performs the effects on
// the engines and steps the core with what came of them. Clocks, randomness and
// engines come from outside, so that the tests drive the same core through
// thousands of simulated outages.
package resilient
