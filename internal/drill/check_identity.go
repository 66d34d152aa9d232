package drill

import (
	"slices"

	"github.com/RC918/morningai"
)

// checkIdentity: what runs or is shown was asked for (4) and not refused (17),
// and one id has one payload (5).
func (c *checker) checkIdentity() {
	var nameless []*Op // enqueues without an id: the node would have made it
	byPayload := map[Digest][]*Op{}
	for _, op := range c.ops {
		if op.Kind == Enqueue && op.Task.IsZero() {
			byPayload[op.Payload] = append(byPayload[op.Payload], op)
			if op.possible() && op.Holder.IsZero() {
				nameless = append(nameless, op)
			}
		}
	}
	for _, t := range c.tasks {
		c.checkAskedFor(t, nameless, byPayload)
		c.checkPayload(t)
		c.checkConflicts(t)
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		for id, f := range n.Tasks {
			switch t := c.byID[id]; {
			case t == nil:
				if !slices.ContainsFunc(byPayload[f.Payload], (*Op).possible) && (f.Payload != 0 || len(nameless) == 0) {
					c.tell(4, id, nil, "%s has it at the end, and nobody has asked for it", n.Node)
				}
			case f.Payload != 0 && !c.asked(t, f.Payload):
				c.tell(4, id, t.possible, "%s has it at the end with a payload that nobody has asked for", n.Node)
			}
		}
	}
}

// trace is an operation that shows that a task exists.
func (o *Op) trace() bool {
	switch o.Kind {
	case Start, Grant:
		return true
	case Read, Cancel, Retry, Run, Delete, End, Finish:
		return o.ok()
	}
	return false
}

func (c *checker) checkAskedFor(t *track, nameless []*Op, byPayload map[Digest][]*Op) {
	var first *Op // the trace that came first
	payload := Digest(0)
	for _, op := range t.ops {
		if op.trace() {
			payload = max(payload, op.Payload)
		} else if !op.ok() || !op.held() || op.Holder != t.id {
			continue
		}
		if first == nil || ends(op) < ends(first) {
			first = op
		}
	}
	at := ""
	for i := range c.final.Nodes {
		if f, ok := c.final.Nodes[i].Tasks[t.id]; ok {
			at, payload = c.final.Nodes[i].Node, max(payload, f.Payload)
		}
	}
	if first == nil && at == "" {
		return
	}
	if len(t.possible) > 0 {
		switch {
		case first == nil || !first.before(t.possible[0]):
		case len(t.refused) > 0 && t.refused[0].Seq < ends(first):
			c.tell(17, t.id, []*Op{t.refused[0], first}, "it was refused, and is there before it was accepted")
		default:
			c.tell(4, t.id, []*Op{first, t.possible[0]}, "it is there before anybody has asked for it")
		}
		return
	}
	if payload == 0 && len(nameless) > 0 || slices.ContainsFunc(byPayload[payload], (*Op).possible) {
		return
	}
	refused := t.refused
	if len(refused) == 0 && payload != 0 {
		refused = byPayload[payload]
	}
	if len(refused) > 0 {
		c.tell(17, t.id, []*Op{refused[0], first}, "it was refused, and is there all the same")
		return
	}
	c.tell(4, t.id, []*Op{first}, "it is there, and nobody has asked for it")
}

// asked reports that an enqueue that may have been accepted carried the payload.
func (c *checker) asked(t *track, payload Digest) bool {
	return len(t.possible) == 0 || slices.ContainsFunc(t.possible, func(op *Op) bool { return op.Payload == payload || op.Payload == 0 })
}

func (c *checker) checkPayload(t *track) {
	var shown *Op // what it was accepted with counts as shown
	if i := slices.IndexFunc(t.acks, func(op *Op) bool { return !op.held() && op.Payload != 0 }); i >= 0 {
		shown = t.acks[i]
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		if f := n.Tasks[t.id]; shown != nil && f.Payload != 0 && f.Payload != shown.Payload && c.asked(t, f.Payload) && !c.apart(t) {
			c.tell(5, t.id, []*Op{shown}, "on %s it has another payload at the end than the one it was accepted with", n.Node)
			return
		}
	}
	for _, op := range t.ops {
		if op.Payload == 0 || !op.trace() {
			continue
		}
		if !c.asked(t, op.Payload) {
			c.tell(4, t.id, []*Op{t.possible[0], op}, "its payload is not the one that was asked for")
			return
		}
		if shown != nil && shown.Payload != op.Payload && !c.apart(t) {
			c.tell(5, t.id, []*Op{shown, op}, "it has two payloads")
			return
		}
		shown = op
	}
}

// apart: different nodes have accepted the id while one of them was on its own,
// so that neither could know of the other; or a node on its own has accepted it
// after it was removed where that node could not see it any more.
func (c *checker) apart(t *track) bool {
	if slices.ContainsFunc(t.possible, func(op *Op) bool { return c.forgotten(t, op) }) {
		return true
	}
	if t.deleted == 0 && !slices.ContainsFunc(t.possible, func(op *Op) bool { return op.Node != t.possible[0].Node }) {
		return false
	}
	return slices.ContainsFunc(t.possible, func(op *Op) bool {
		_, out := c.faults.outage(op)
		out = out || op.Durable == string(morningai.DurabilityJournal) && op.Node != t.possible[0].Node // Redis did not answer it in time
		return out && (t.deleted == 0 || op.Durable == string(morningai.DurabilityJournal) || op.Node != t.possible[0].Node)
	})
}

// forgotten: a node that had been started anew, and that Redis did not answer in time,
// since its receipt names the journal alone, was asked for the id when its journal did
// not have the task any more, because it had ended, or never had it.
func (c *checker) forgotten(t *track, ask *Op) bool {
	return ask.Durable == string(morningai.DurabilityJournal) &&
		slices.ContainsFunc(c.faults.crashes[ask.Node], func(crash *Op) bool { return t.possible[0].Seq < crash.Seq && crash.Seq < ask.Seq }) &&
		(slices.ContainsFunc(t.ops, func(op *Op) bool {
			return op.Seq < ask.Seq && op.ok() && (op.State.Terminal() || op.Kind == Finish && final(op.Ended))
		}) || !slices.ContainsFunc(t.possible, func(op *Op) bool {
			return op.ok() && op.Seq < ask.Seq && op.Node == ask.Node && op.Durable != string(morningai.DurabilityRedis)
		}))
}

// checkConflicts: the same request again is the same task, another request
// under its id is a conflict.
func (c *checker) checkConflicts(t *track) {
	if len(t.acks) > 1 {
		if i := slices.IndexFunc(t.acks, func(op *Op) bool {
			return !op.held() && !t.acks[0].held() && op.Payload != t.acks[0].Payload && op.Payload != 0 && t.acks[0].Payload != 0
		}); i > 0 && !c.apart(t) {
			c.tell(5, t.id, []*Op{t.acks[0], t.acks[i]}, "two payloads were accepted under one id")
		}
	}
	for _, op := range t.refused {
		if op.Code != morningai.CodeConflict && op.Code != morningai.CodeIdempotencyConflict {
			continue
		}
		if !slices.ContainsFunc(t.ops, func(o *Op) bool {
			return o.Seq < op.End && o.possible() && (o.Kind == Delete || o.Kind == Enqueue && o != op && !sameRequest(o, op))
		}) {
			c.tell(5, t.id, append([]*Op{op}, t.acks...), "a conflict is told, but nobody asked for something else under the id")
		}
	}
}

func sameRequest(a, b *Op) bool {
	return a.Payload == b.Payload && a.Queue == b.Queue && a.Key == b.Key && a.Span == b.Span
}
