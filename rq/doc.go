// Package rq works with Python's RQ (Redis Queue), versions 1.13 and newer: it
// enqueues jobs that Python workers run, reads what became of them, and runs jobs
// that Python programs have enqueued.
//
// RQ records nowhere which serializer a job was written with, so that producer,
// worker and reader have to agree. This package writes JSON unless told
// otherwise, which is RQ's JSONSerializer, and reads JSON and pickles by
// themselves. A pickle is read for plain values only: nothing in it is ever
// executed, and one that holds an object of a class is an error.
//
// What RQ refuses, or what would end a Python worker (an id with a colon, a
// timeout of half a second), is refused before anything is written.
package rq
