// Package server puts the parts of MorningAI together: storage, workers, task
// types and the HTTP API. It is the only place where that is done.
//
// [New] serves an app of one's own, as a handler to mount or with [Server.Run].
// [Open] builds what the command morningai serve runs, from a data folder.
package server
