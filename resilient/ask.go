package resilient

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// ask asks the nodes that may know what is missing. Without an answer from all
// of them the truth is that it cannot be known.
func (op *getOp) ask(live bool) {
	c := op.c
	if !op.met && slices.ContainsFunc(op.req.IDs, c.mayHaveComeSince) {
		op.met = true
		if c.meet(func(err error) { op.introduced, op.unmet = err == nil, err != nil; op.ask(live) }) {
			return
		}
	}
	for i, id := range op.req.IDs {
		if !op.tasks[i].ID.IsZero() || op.gone[id] {
			continue
		}
		op.doubt = op.doubt || !op.introduced && (op.unmet || c.hasOthers()) && c.mayHaveComeSince(id) || c.strangersRecover(id)
		for k := range c.members {
			m := (*member)(&c.members[k])
			switch {
			case m.Journal == c.cfg.member || live && m.cleared(id):
			case m.URL == "" || c.cfg.ask == nil:
				op.doubt = true
			default:
				op.asked++
				op.others = true
				op.askAt(i, m.URL)
			}
		}
		op.askPeers(i)
	}
	op.doubt = op.doubt || !live || !c.acquainted()
	op.answer()
}

// askPeers asks addresses at which there may be a node that the shared engine has never
// heard of.
func (op *getOp) askPeers(i int) {
	c := op.c
	for _, url := range c.cfg.peers {
		if c.cfg.ask != nil && !slices.ContainsFunc(c.members, func(m morningai.Member) bool { return m.URL == url }) {
			op.asked++
			op.others = true
			op.askAt(i, url)
		}
	}
}

// mayBeKnownAt reports whether a node at the address of a peer may have accepted a task
// since anything was last heard of it.
func (c *core) mayBeKnownAt(url string, id morningai.ID) bool {
	at := c.peersHeard[url]
	return at.IsZero() || id[6]>>4 != 7 || id.Time().After(at.Add(-clearMargin))
}

func (c *core) heardOf(url string, at time.Time) {
	if !slices.Contains(c.cfg.peers, url) || !at.After(c.peersHeard[url]) {
		return
	}
	if c.peersHeard == nil {
		c.peersHeard = map[string]time.Time{}
	}
	c.peersHeard[url] = at
}

func (op *getOp) askAt(i int, url string) {
	c, id, asked := op.c, op.req.IDs[i], op.c.now
	known := slices.ContainsFunc(c.members, func(m morningai.Member) bool { return m.URL == url })
	ask := c.cfg.ask
	c.out = append(c.out, effect{to: toPeer, name: "ask", limit: askLimit,
		run: func(ctx context.Context) (any, error) { return ask(ctx, url, id) },
		then: func(result any, err error) {
			t, _ := result.(morningai.Task)
			if err == nil || morningai.CodeOf(err) == morningai.CodeNotFound {
				c.heardOf(url, asked)
			}
			switch {
			case err == nil && t.Fresh == morningai.FreshStale && op.shared != nil:
				// The shared engine has said that it is gone; or it has been given it
				// since it was asked.
				op.doubt = true
			case err == nil && !t.ID.IsZero() && (op.tasks[i].ID.IsZero() || laterThan(&t, &op.tasks[i])):
				op.tasks[i] = t
			case err != nil && morningai.CodeOf(err) != morningai.CodeNotFound:
				op.doubt = op.doubt || known || c.mayBeKnownAt(url, id)
			}
			op.asked--
			op.answer()
		}})
}

func (op *getOp) answer() {
	if op.asked > 0 {
		return
	}
	if op.others && !op.again && op.shared != nil && !op.doubt && op.lacks() {
		op.again = true
		op.lookAgain()
		return
	}
	if op.inner != nil {
		elsewhere := map[morningai.ID]bool{}
		for i := range op.tasks {
			if t := &op.tasks[i]; !t.ID.IsZero() && !op.c.known.deleted.has(t.ID, op.c.now) {
				op.c.known.see(t)
				elsewhere[t.ID] = true
			}
		}
		op.inner(elsewhere, op.doubt)
		return
	}
	for i, id := range op.req.IDs {
		if !op.tasks[i].ID.IsZero() || op.gone[id] || !op.doubt {
			continue
		}
		had := op.c.known.get(id)
		if had == nil || op.here { // whoever asks here has seen it, or not
			op.finish(op.c.statusUnknown("get", op.cause))
			return
		}
		op.tasks[i] = *had
		op.tasks[i].Fresh = morningai.FreshStale
	}
	op.finish(nil)
}

// lookAgain asks the shared engine once more for what nobody has: it may have been
// given it by a node that was asked after it.
func (op *getOp) lookAgain() {
	c, req := op.c, op.req
	onShared(c, "get", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Task, error) { return c.remote.Get(ctx, req) },
		func(tasks []morningai.Task, err error) {
			op.doubt = op.doubt || err != nil
			for i := range tasks {
				if op.tasks[i].ID.IsZero() {
					op.tasks[i] = tasks[i]
				}
			}
			op.answer()
		})
}

func (op *getOp) lacks() bool {
	for i := range op.tasks {
		if op.tasks[i].ID.IsZero() && !op.gone[op.req.IDs[i]] {
			return true
		}
	}
	return false
}

// askFor asks other nodes for tasks; what they know is then last known.
func (c *core) askFor(ids []morningai.ID, then func(elsewhere map[morningai.ID]bool, doubt bool)) {
	op := &getOp{c: c, req: morningai.GetRequest{IDs: ids}, tasks: make([]morningai.Task, len(ids)), gone: map[morningai.ID]bool{}, inner: then}
	_, gone := c.split(places(ids), func(i int) morningai.ID { return ids[i] })
	live := len(gone) == 0
	if live {
		op.shared = make([]morningai.Task, len(ids)) // it knows none of them
	}
	op.ask(live)
}

const (
	askLimit = 500 * time.Millisecond
	// clearMargin covers the difference between the clocks of a client that
	// made an id and of the node that took it.
	clearMargin = 2 * time.Second
)

// acquainted reports whether this node knows its fleet as it is now.
func (c *core) acquainted() bool {
	return len(c.sessions) == 0 || c.now.Sub(c.membersAt) <= acquaintance
}

// mayHaveComeSince reports whether a node that came after the members were
// learned can have accepted a task.
func (c *core) mayHaveComeSince(id morningai.ID) bool {
	return len(c.sessions) > 0 && id[6]>>4 == 7 && id.Time().After(c.membersAt.Add(-clearMargin)) && id.Time().Before(c.now.Add(clearMargin))
}

// strangersRecover reports whether a node that this one has never heard of can
// have accepted a task, and has still to say that it is there: it was started
// while the shared engine was away.
func (c *core) strangersRecover(id morningai.ID) bool {
	d, a := &c.contact, &c.apart
	if id[6]>>4 == 7 && !a.began.IsZero() && id.Time().After(a.began.Add(-clearMargin)) &&
		(c.partly() || c.now.Sub(a.ended) < strangers && id.Time().Before(a.ended.Add(strangers))) {
		return true // one that was started while a part was away waits for all of them
	}
	return !d.closed.IsZero() && c.now.Sub(d.closed) < strangers && id[6]>>4 == 7 &&
		id.Time().After(d.apart.Add(-clearMargin)) && id.Time().Before(d.closed.Add(strangers))
}

// strangers is by when after an outage every node has made itself known.
const strangers = 3 * time.Second

// acquaintance is more than the time between two beats.
const acquaintance = 1500 * time.Millisecond

type member morningai.Member

// cleared reports whether a node has said, later than the task can have been
// accepted, that everything it had accepted is delivered.
func (m *member) cleared(id morningai.ID) bool {
	return m.Backlog == 0 && m.ContactAt.Sub(id.Time()) > clearMargin
}

func (c *core) statusUnknown(op string, cause error) error {
	why, hint := reason(cause)
	if cause == nil {
		why, hint = reason(c.cause())
	}
	detail := "it cannot be known while Redis is away"
	if why != "" {
		detail += " (" + why + ")"
	}
	return &morningai.Error{Code: morningai.CodeStatusUnknown, Op: op, Detail: detail, Hint: hint, RetryAfter: time.Second}
}
