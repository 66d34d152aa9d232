// Package outagetest takes Redis away from real morningai processes and counts.
//
// A test is a story: servers and a redis-server are started, traffic is made
// over HTTP, something is done to Redis, to the network, to a disk or to a
// server, and when all is well again every server is asked about every task.
// What was accepted, answered and run on the way is a history, which
// internal/drill checks; the handlers' own side is counted by an HTTP server
// that the tasks call.
//
// # Times
//
// Promises about time are measured beside a control: a server of the same
// program, with the embedded engine and on the same disk, that accepts a task
// every 25 ms all the while. What the control took longer than its median while
// a call lasted is the machine's, and is taken off the call; what remains may
// exceed the promise by as much as the control's own slowest percent. So a test
// on a loaded machine does not fail for the load, and a call that waits for
// Redis has no excuse: the control has none.
package outagetest
