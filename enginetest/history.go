package enginetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/RC918/morningai"
)

// opKind says what a recorded operation was.
type opKind string

const (
	opEnqueued opKind = "enqueued" // accepted: id, payload
	opGranted  opKind = "granted"  // id, life, claim, payload
	opFinished opKind = "finished" // accepted: id, claim, outcome
	opLost     opKind = "lost"     // a session with this claim was declared dead: id, claim
	opRetried  opKind = "retried"  // an operator's retry was acknowledged: id
	opCanceled opKind = "canceled" // an operator's cancel was acknowledged: id
	opSeen     opKind = "seen"     // by a reader: id, life, state, version, payload
)

// op is one thing that a client did or saw. Begun and Ended place it in time:
// the operation took effect somewhere between the two.
type op struct {
	Kind         opKind
	Begun, Ended int
	Reader       int
	ID           morningai.ID
	Life         int64
	Claim        int64
	Version      int64
	State        morningai.State
	Outcome      morningai.Outcome
	Payload      string
}

// recorded is what all clients of a run did and saw.
type recorded struct {
	mu   sync.Mutex
	tick int
	ops  []op
}

func (h *recorded) begin() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick++
	return h.tick
}

func (h *recorded) add(begun int, o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick++
	o.Begun, o.Ended = begun, h.tick
	h.ops = append(h.ops, o)
}

// violations returns every promise that the history breaks. The numbers are
// those of the invariants in the design: 1 states, 4 payloads, 5 one id one
// payload, 6 fencing, 7 starts, 9 what readers see, 16 cancels.
func violations(ops []op) []string {
	var out []string
	breaks := func(invariant int, id morningai.ID, format string, args ...any) {
		out = append(out, fmt.Sprintf("invariant %d, task %s: %s", invariant, id, fmt.Sprintf(format, args...)))
	}
	tasks := map[morningai.ID][]op{}
	for _, o := range ops {
		tasks[o.ID] = append(tasks[o.ID], o)
	}
	for id, mine := range tasks {
		checkPayload(id, mine, breaks)
		checkClaims(id, mine, breaks)
		checkStarts(id, mine, breaks)
		checkReaders(id, mine, breaks)
		checkEnds(id, mine, breaks)
	}
	slices.Sort(out)
	return out
}

type breaker func(invariant int, id morningai.ID, format string, args ...any)

func ofKind(ops []op, kinds ...opKind) []op {
	var out []op
	for _, o := range ops {
		if slices.Contains(kinds, o.Kind) {
			out = append(out, o)
		}
	}
	return out
}

func checkPayload(id morningai.ID, ops []op, breaks breaker) {
	accepted := ofKind(ops, opEnqueued)
	if len(accepted) == 0 {
		breaks(4, id, "nobody enqueued it")
		return
	}
	for _, o := range ofKind(ops, opEnqueued, opGranted, opSeen) {
		if o.Payload != accepted[0].Payload {
			breaks(5, id, "%s with another payload than accepted", o.Kind)
		}
	}
}

func checkClaims(id morningai.ID, ops []op, breaks breaker) {
	grants := ofKind(ops, opGranted)
	for i, g := range grants {
		for _, other := range grants[i+1:] {
			if g.Claim == other.Claim {
				breaks(6, id, "claim %d was handed out twice", g.Claim)
			}
			if g.Claim < other.Claim && other.Ended < g.Begun || g.Claim > other.Claim && g.Ended < other.Begun {
				breaks(6, id, "claim %d came before claim %d", max(g.Claim, other.Claim), min(g.Claim, other.Claim))
			}
		}
	}
	outcome := map[int64]morningai.Outcome{}
	for _, f := range ofKind(ops, opFinished) {
		if had, ok := outcome[f.Claim]; ok && had != f.Outcome {
			breaks(6, id, "claim %d has two accepted outcomes", f.Claim)
		}
		outcome[f.Claim] = f.Outcome
		for _, g := range grants {
			if g.Claim > f.Claim && g.Ended < f.Begun {
				breaks(6, id, "an outcome of claim %d was accepted after claim %d was handed out", f.Claim, g.Claim)
			}
		}
	}
}

// checkStarts wants a recorded cause for every start but the first of a life.
func checkStarts(id morningai.ID, ops []op, breaks breaker) {
	allowed := 1 + len(ofKind(ops, opRetried))
	counted := map[int64]bool{}
	for _, o := range ofKind(ops, opFinished, opLost) {
		again := o.Kind == opLost || o.Outcome == morningai.OutcomeRetry || o.Outcome == morningai.OutcomeSnoozed || o.Outcome == morningai.OutcomeReleased
		if again && !counted[o.Claim] {
			counted[o.Claim] = true
			allowed++
		}
	}
	if starts := len(ofKind(ops, opGranted)); starts > allowed {
		breaks(7, id, "%d starts, the record explains %d", starts, allowed)
	}
}

func checkReaders(id morningai.ID, ops []op, breaks breaker) {
	last := map[int]op{}
	for _, o := range ofKind(ops, opSeen) { // each reader's in its own order
		before, ok := last[o.Reader]
		last[o.Reader] = o
		if !ok {
			continue
		}
		switch {
		case o.Life < before.Life:
			breaks(9, id, "life %d after %d", o.Life, before.Life)
		case o.Version < before.Version:
			breaks(9, id, "version %d after %d", o.Version, before.Version)
		case o.Life == before.Life && before.State.Terminal() && o.State != before.State:
			breaks(9, id, "%s after %s", o.State, before.State)
		case o.Version == before.Version && o.State != before.State:
			breaks(1, id, "version %d is %s and %s", o.Version, before.State, o.State)
		}
	}
}

func checkEnds(id morningai.ID, ops []op, breaks breaker) {
	ends := map[int64]morningai.State{}
	var final op
	for _, o := range ofKind(ops, opSeen) {
		if o.State.Terminal() {
			if had, ok := ends[o.Life]; ok && had != o.State {
				breaks(1, id, "life %d ended as %s and as %s", o.Life, had, o.State)
			}
			ends[o.Life] = o.State
		}
		if o.Life > final.Life || o.Life == final.Life && o.Version >= final.Version {
			final = o
		}
	}
	if !final.State.Terminal() {
		breaks(2, id, "the last that was seen of it is %q", final.State)
	}
	canceled := ofKind(ops, opCanceled)
	if len(canceled) > 0 && len(ofKind(ops, opRetried)) == 0 && final.State != morningai.StateCanceled {
		breaks(16, id, "a cancel was acknowledged, it ended %s", final.State)
	}
	for _, f := range ofKind(ops, opFinished) {
		if f.Outcome == morningai.OutcomeSucceeded && len(canceled) == 0 && final.State != morningai.StateSucceeded {
			breaks(2, id, "an acknowledged success ended %s", final.State)
		}
	}
}
