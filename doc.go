// Package morningai runs background and AI tasks: queues, workers, retries,
// durable steps and live status, on an engine of your choice.
//
// A program declares handlers on an [App], enqueues typed work through the
// [Task definition] that [Handle] returns, and reads status and results back
// by task id. Where tasks live is decided by the [Engine] given to [New]; the
// package sqlite has the embedded one.
//
// # What holds
//
// A task id is returned only after the task is durable, and the receipt's
// Durable field says where. Execution is at-least-once: a process that dies in
// the middle of a handler leads to another attempt, so handlers should be safe
// to repeat; [Step] makes parts of them run once. Recording is effectively
// once: every claim of a task carries a number and a random token, and an
// outcome that comes from a superseded claim is refused with [ErrStale].
//
// [Task definition]: https://pkg.go.dev/github.com/RC918/morningai#Definition
package morningai
