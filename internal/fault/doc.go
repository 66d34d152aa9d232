// Package fault has what goes wrong on command, for tests: a [Proxy] between a
// client and a server that loses, delays and cuts, and an [Engine] that fails by
// script. Nothing of it is reachable from the program.
package fault
