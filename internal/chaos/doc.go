// Package chaos stages outages: it starts throw-away Redis servers and servers of
// ours on this machine, makes traffic, breaks something, and when all is well
// again asks everybody about everything. What was asked, answered, run and broken
// is a history that package drill checks.
package chaos
