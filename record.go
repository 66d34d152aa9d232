package morningai

import (
	"cmp"
	"encoding/json"
	"time"
)

// Record is everything an engine stores of a task: the form in which tasks
// move between engines, into backups and back.
type Record struct {
	Task        Task
	UniqueKey   string
	Retention   *time.Duration
	Fingerprint string

	// The latest hand-out and what became of it. Settled is "" while its
	// outcome is open.
	Claim   int64
	Lease   int64
	Node    string
	Session SessionID
	Settled Outcome

	Deleted  bool // a tombstone: the task was removed by an operator
	Attempts []Attempt
	Steps    map[string]json.RawMessage
	Logs     []LogLine
}

// Fencing decides what becomes of a report.
type Fencing uint8

// The decisions of [Record.Fence].
const (
	FenceStale  Fencing = iota // refuse: the claim was superseded, or its outcome differs from the recorded one
	FenceAccept                // record it
	FenceRepeat                // already recorded: acknowledge, change nothing
)

// Fence applies the rule that every engine shares. An outcome is accepted if
// the record is not terminal and either the stored claim is smaller than the
// lease's (the storage has lost the hand-out, not the work) or claim and lease
// both match and nothing was recorded for them yet. An outcome that is already
// recorded for this very claim is a repeat. outcome is "" for a checkpoint.
func (r *Record) Fence(l Lease, outcome Outcome) Fencing {
	same := r.Claim == l.Claim && r.Lease == l.Lease
	switch {
	case r.Deleted:
		return FenceStale
	case same && r.Settled != "":
		if outcome != "" && outcome == r.Settled {
			return FenceRepeat
		}
		return FenceStale
	case r.Task.State.Terminal():
		return FenceStale
	case same, r.Claim < l.Claim:
		return FenceAccept
	}
	return FenceStale
}

// Compare orders two records of one task by how far the task has come: life,
// then terminal over not, then claim, then a claim whose outcome is recorded
// over an open one, then rank of the state (blocked < scheduled < queued <
// running), then version. A deleted record counts as terminal. The order is
// total on what engines produce, so that merging is commutative.
func (r *Record) Compare(o *Record) int {
	ended := func(x *Record) int {
		if x.Deleted || x.Task.State.Terminal() {
			return 1
		}
		return 0
	}
	if c := cmp.Or(
		cmp.Compare(r.Task.Life, o.Task.Life),
		cmp.Compare(ended(r), ended(o)),
	); c != 0 {
		return c
	}
	if ended(r) == 1 {
		// Of two ends of one life the stored one stays; only a delete goes over it.
		if r.Deleted != o.Deleted {
			if r.Deleted {
				return 1
			}
			return -1
		}
		return 0
	}
	settled := func(x *Record) int {
		if x.Settled != "" {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(r.Claim, o.Claim),
		cmp.Compare(settled(r), settled(o)), // else the retry of a claim would be older than its run
		cmp.Compare(r.Task.State.rank(), o.Task.State.rank()),
		cmp.Compare(r.Task.Version, o.Task.Version),
	)
}

// Newer reports whether an import of r replaces the stored record o.
func (r *Record) Newer(o *Record) bool { return r.Compare(o) > 0 }

// ExportPage is one page of an export.
type ExportPage struct {
	Records []Record
	Next    string // "" at the end
}

// ImportResult says what became of one imported record.
type ImportResult struct {
	Status ImportStatus
	Task   Task // as stored after the import
	Err    error
}

// ImportStatus says what an import did with a record.
type ImportStatus string

// What an import can do with a record.
const (
	ImportAdded    ImportStatus = "added"    // the task was unknown
	ImportUpdated  ImportStatus = "updated"  // the record was further on
	ImportKept     ImportStatus = "kept"     // the stored record was as far or further
	ImportRepeated ImportStatus = "repeated" // both had ended in this life, each its own way: the stored end stays
)
