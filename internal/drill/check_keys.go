package drill

import (
	"cmp"
	"slices"

	"github.com/RC918/morningai"
)

// held is a time in which a task was certainly alive and held its unique key.
type held struct {
	t           *track
	first, last *Op // signs of one life
	of          *Op // says which
}

// checkKeys: a unique key has one live holder; those that an outage or a loss
// has brought about come down to one (14).
func (c *checker) checkKeys() {
	keys := map[string][]held{}
	for _, t := range c.tasks {
		if i := slices.IndexFunc(t.acks, func(op *Op) bool { return op.Key != "" && !op.held() }); i >= 0 {
			keys[t.acks[i].Key] = append(keys[t.acks[i].Key], c.lives(t)...)
		}
	}
	for _, list := range keys {
		slices.SortFunc(list, func(a, b held) int { return cmp.Compare(a.first.Seq, b.first.Seq) })
		var longest held
		var live *track
		for _, h := range list {
			if longest.t != nil && longest.t != h.t && longest.first.before(h.first) && h.first.End < longest.last.Seq && !c.resolved(longest, h) {
				c.tell(14, h.t.id, []*Op{longest.first, h.first, longest.last}, "it holds a unique key that task %s held already", longest.t.id)
			}
			if longest.t == nil || h.last.Seq > longest.last.Seq {
				longest = h
			}
			for i := range c.final.Nodes {
				if f, ok := c.final.Nodes[i].Tasks[h.t.id]; ok && !f.State.Terminal() && !f.Superseded {
					if live != nil && live != h.t {
						c.tell(14, h.t.id, []*Op{h.first}, "at the end it and task %s both hold one unique key", live.id)
					}
					live = h.t
					break
				}
			}
		}
	}
}

// lives are the lives of a task as far as there are signs of them. One that Redis has
// lost, and was given again, lives a second time: it held nothing in between.
func (c *checker) lives(t *track) []held {
	var out []held
	var ended, given *Op
	for _, op := range t.ops {
		switch {
		case op.Kind == Applied && op.ok():
			given = op
		case op.ok() && op.Task == t.id && (op.State.Terminal() || op.Kind == Finish && final(op.Ended)):
			ended = op
		}
		// It can only be handed out, or seen so, if it lives. A removal shows what
		// was removed, perhaps long ago.
		alive := op.Kind == Grant || op.State != "" && !op.State.Terminal() && !t.outdated(op) && (!op.held() || op.Holder == t.id) ||
			op.Kind == Enqueue && !op.held() && op.State == ""
		if !alive || op.Kind == Delete || !op.ok() || t.life(op) == 0 {
			continue
		}
		n := len(out)
		again := ended != nil && ended.before(op) && c.faults.losses.between(ended, op) ||
			n > 0 && given != nil && out[n-1].last.before(given) && c.faults.losses.between(out[n-1].last, given)
		if n > 0 && t.sameLife(out[n-1].of, op) && !again {
			out[n-1].last = op
			continue
		}
		first := op
		if again && given != nil && n > 0 && out[n-1].last.before(given) && t.sameLife(out[n-1].of, op) {
			first = given // that it was given is the first sign
		}
		out = append(out, held{t, first, op, op})
		ended = nil
	}
	return out
}

// outdated: what an operation shows of the task is no sign that it lives, because it
// is what a node remembers, or what its journal has of a task that Redis had before.
func (t *track) outdated(op *Op) bool {
	return op.Fresh == morningai.FreshStale || op.Fresh == morningai.FreshLocal &&
		slices.ContainsFunc(t.kind(Applied), func(applied *Op) bool { return applied.Seq < op.Seq })
}

// resolved: one of two holders came in an outage or after a loss, or was accepted
// by a journal alone, and at the end one of them says that it gave way; or one was
// accepted by a journal alone, and either nothing is seen of both after the outage,
// because one had ended before they met, or that one had begun to run before.
func (c *checker) resolved(a, b held) bool {
	if !a.t.local() && !b.t.local() && !c.faults.losses.between(a.first, b.first) && !slices.ContainsFunc([]*Op{a.first, b.first}, func(op *Op) bool { _, out := c.faults.outage(op); return out }) {
		return false
	}
	together := a.last // when both were last seen alive
	if b.last.Seq < a.last.Seq {
		together = b.last
	}
	for _, t := range []*track{a.t, b.t} {
		if t.local() && (c.away(t, together) || slices.ContainsFunc(t.kind(Grant), func(op *Op) bool { return c.away(t, op) })) {
			return true
		}
	}
	if a.t.provisional(b.last) || b.t.provisional(a.last) {
		return true
	}
	for i := range c.final.Nodes {
		for _, t := range []*track{a.t, b.t} {
			f, ok := c.final.Nodes[i].Tasks[t.id]
			if !ok || f.Life > 1 || f.Superseded || f.Code == morningai.ErrorCodeSuperseded {
				return true // one that is gone, or that was given another life, cannot say it any more
			}
		}
	}
	return len(c.final.Nodes) == 0
}

// provisional: a journal alone had accepted it, and Redis was given it only after
// that moment.
func (t *track) provisional(when *Op) bool {
	applied := t.kind(Applied)
	return t.local() && len(applied) > 0 && when.End < applied[0].Seq
}

// away: a node that has accepted the task was in an outage at the time of another
// operation.
func (c *checker) away(t *track, when *Op) bool {
	f := &c.faults
	return slices.ContainsFunc(t.acks, func(ack *Op) bool {
		return !ack.held() && slices.ContainsFunc([][]span{f.cut[ack.Node], f.redis, f.open[ack.Node]}, func(list []span) bool { return covered(list, when) })
	})
}

// local: a journal alone has accepted it.
func (t *track) local() bool {
	return slices.ContainsFunc(t.acks, func(op *Op) bool { return op.Durable == string(morningai.DurabilityJournal) && !op.held() })
}
