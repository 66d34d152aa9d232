package morningai

import (
	"context"
	"time"
)

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
	// Reported is the lineage of the last data set ([DataSet]) about which the
	// member has told what it has finished: what it did before that was lost is
	// known.
	Reported uint64
	// Crashed is the lineage of data about which the member cannot tell all, because
	// an earlier process of it had died and may have run what it did not write down.
	Crashed uint64
	// Edition is how far the journal had come when the member last said so; it only
	// grows. A journal that has not come as far is a copy of an earlier state.
	Edition int64
	// ContactAt is when the member last said so, by its own clock.
	ContactAt time.Time
	// Connected: its session is alive and beats. Reads fill it in, it is not
	// stored.
	Connected bool
}

// Incident is the report of one outage: an interval in which a node could not
// rely on the engine that it shares with others.
type Incident struct {
	ID           ID
	Node         string
	Cause        string // in words that an operator can act on
	Hint         string
	StartedAt    time.Time
	EndedAt      time.Time     // zero while it lasts
	NoticedAfter time.Duration // from the last sign of life to the circuit's opening

	Accepted   int64 // tasks accepted into the journal alone
	RanLocally int64 // attempts that ran here without the shared engine
	Delivered  int64 // outcomes, checkpoints and commands delivered afterwards
	Forwarded  int64 // tasks handed to the shared engine afterwards
	Replayed   int64 // writes in doubt that were sent again
	Repeated   int64 // tasks that ran more than once
	// MaybeRepeated: tasks that may have run more than once, because a node that
	// could know was not there when the shared engine had lost data.
	MaybeRepeated int64
	Superseded    int64 // tasks that gave way to another holder of their unique key
	SetAside      int64 // entries that the shared engine refuses for good
	Refused       int64 // requests refused because neither journal nor engine could take them
	Lost          int64 // acknowledged tasks known to be lost: 0, or an alarm
	Backlog       int64 // entries still to be delivered; 0 once it is settled

	RepeatedIDs      []ID // at most MaxIncidentIDs of each
	MaybeRepeatedIDs []ID
	SetAsideIDs      []ID
	LostIDs          []ID

	// Unprotected are nodes of the fleet that kept no journal meanwhile: of what they
	// accepted, and the shared engine lost, nobody else knows.
	Unprotected []string
}

// MaxIncidentIDs bounds the ids that an incident lists.
const MaxIncidentIDs = 1000

// OutagePolicy says what becomes of a task that is accepted while the shared
// engine is away.
type OutagePolicy string

// The policies. The zero value is OutageRun.
const (
	OutageRun  OutagePolicy = "run"  // it runs on the node that accepted it, if that can
	OutageHold OutagePolicy = "hold" // it waits until the shared engine is back
)

// Durability says where a task must be before its producer gets the receipt, on
// a node that has a journal and shares an engine with others.
type Durability string

// The durabilities. The zero value leaves it to the engine's setting.
const (
	DurabilityBoth    Durability = "journal+redis" // both, as long as both can be reached
	DurabilityJournal Durability = "journal"       // the journal; the shared engine follows
	DurabilityRedis   Durability = "redis"         // the shared engine while it can be reached, else the journal
)

// Contact says how a node stands to the engine that it shares with others.
type Contact string

// The states of contact.
const (
	ContactUp         Contact = "up"
	ContactSuspect    Contact = "suspect"    // the last call failed or is overdue; a probe is under way
	ContactDown       Contact = "down"       // the circuit is open: the node works on its own
	ContactRecovering Contact = "recovering" // probes pass; the circuit closes after a healthy interval
)

// FleetStatus is how a node with a journal stands, for health checks.
type FleetStatus struct {
	Contact Contact
	Since   time.Time // when Contact last changed between up or suspect, and down or recovering
	Cause   string    // of the outage; "" while there is none
	Hint    string
	// Away are the parts of the shared engine that cannot be reached while Contact is
	// with the others. Since, Cause and Hint are about them then.
	Away    []AwayPart
	Backlog int64 // entries to be delivered

	Journal JournalInfo
	// TombstonesSince: of what has ended here since then the journal still knows
	// that it has ended, should the shared engine forget it.
	TombstonesSince time.Time
	JournalLimit    int64    // bytes; 0: no limit
	Refusing        error    // why nothing is accepted: an ErrStorageFull or ErrStorageFailed; nil while tasks are accepted
	Unprotected     []string // nodes of the fleet without a journal
}

// Fleet is what a node with a journal can tell beyond [Engine]. Package
// resilient implements it.
type Fleet interface {
	// Status describes the node now. It never waits for the shared engine.
	Status(ctx context.Context) (FleetStatus, error)
	// ProbeShared makes a real write to the shared engine and returns why it
	// could not. It does not look at the circuit.
	ProbeShared(ctx context.Context) error
	// Incidents returns the outages of this node that its journal remembers,
	// newest first, the one that lasts among them.
	Incidents(ctx context.Context) ([]Incident, error)
	// Members returns the nodes on record, as known now.
	Members(ctx context.Context) ([]Member, error)
	// Forget removes a member that will not come back. What only its journal
	// knew is then answered as not found. It fails while the shared engine is
	// away, and with an ErrWrongState while the member is connected.
	Forget(ctx context.Context, journal ID) error
	// Undelivered counts the entries of the journal that the shared engine has
	// still to get.
	Undelivered(ctx context.Context) (int64, error)
}
