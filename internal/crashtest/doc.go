// Package crashtest kills a process that runs an App on the embedded engine, at
// random moments and without warning, opens what it leaves behind, and compares
// that with what the process had acknowledged before it died. It is all tests:
// 10 kills in a plain run, 200 with MORNINGAI_SOAK=1 or -soak.
package crashtest
