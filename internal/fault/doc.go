// Package fault has an [Engine] that fails by script, for tests. Nothing of it is
// reachable from the program.
package fault
