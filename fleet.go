package morningai

import "time"

// Member is a node that accepts tasks for an engine that it shares with others,
// and that may know of tasks which the engine does not know (yet). A member
// stays on record when its process dies: what its journal holds may still come.
// It leaves by a clean stop with nothing undelivered, or when it is forgotten.
type Member struct {
	Journal ID     // of its journal; names the member
	Node    string // a name for people
	URL     string // where its API answers; "" if nobody can ask it
	Session SessionID
	Version string
	// Backlog is how many entries of its journal it had not delivered when it
	// last said so.
	Backlog int64
	// ContactAt is when the member last said so, by its own clock.
	ContactAt time.Time
	// Connected: its session is alive and beats. Reads fill it in, it is not
	// stored.
	Connected bool
}
