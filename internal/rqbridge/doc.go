// Package rqbridge has RQ's workers run tasks of the types rq:path.to.func. A
// task is claimed like any other, delivered to the RQ queue of its queue's name once
// per id and life, and followed until its job has ended. What waits in RQ and was
// lost with Redis is delivered again.
package rqbridge
