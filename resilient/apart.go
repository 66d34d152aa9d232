package resilient

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// partsAway is which parts of the shared engine are away while others can be reached,
// such as the partitions of one primary of a Cluster. To the tasks of such a part it
// is an outage: they are accepted, run and finished as with an open circuit, and what
// the part has to be told waits for it. All others go through the shared engine.
type partsAway struct {
	of    int // parts
	away  []morningai.AwayPart
	began time.Time // of the last time that any was away
	since [256]time.Time
	ended time.Time
}

// away reports whether what concerns a task cannot be told to the shared engine now.
func (c *core) away(id morningai.ID) bool { return c.contact.open() || c.apart.has(id) }

func (a *partsAway) has(id morningai.ID) bool {
	return len(a.away) > 0 && a.misses(id.Part(a.of))
}

func (a *partsAway) misses(part int) bool {
	return slices.ContainsFunc(a.away, func(p morningai.AwayPart) bool { return p.Part == part })
}

// partly reports that some parts are away, and others are not.
func (c *core) partly() bool { return !c.contact.open() && len(c.apart.away) > 0 }

// openedAt is since when a task that is made with this id cannot be known to the
// shared engine.
func (c *core) openedAt(id morningai.ID) time.Time {
	if c.contact.open() || !c.apart.has(id) {
		return c.contact.opened
	}
	return c.apart.since[id.Part(c.apart.of)]
}

// split parts places of a list into what the shared engine can be told now, and the
// rest.
func (c *core) split(at []int, id func(i int) morningai.ID) (there, gone []int) {
	if c.contact.open() {
		return nil, at
	}
	if len(c.apart.away) == 0 {
		return at, nil
	}
	for _, i := range at {
		if c.apart.has(id(i)) {
			gone = append(gone, i)
		} else {
			there = append(there, i)
		}
	}
	return there, gone
}

// noteAway takes in which parts of the shared engine are away.
func (c *core) noteAway(of int, away []morningai.AwayPart) {
	a := &c.apart
	same := func(x, y morningai.AwayPart) bool { return x.Part == y.Part && x.Server == y.Server }
	if of == 0 || len(away) == 0 && len(a.away) == 0 || slices.EqualFunc(away, a.away, same) {
		a.of = max(of, a.of)
		return
	}
	was := a.away
	a.of, a.away = of, away
	back := false
	for i := range away {
		if part := away[i].Part; !slices.ContainsFunc(was, func(p morningai.AwayPart) bool { return p.Part == part }) {
			a.since[part] = c.now
		}
	}
	for i := range was {
		back = back || !a.misses(was[i].Part)
	}
	switch {
	case len(was) == 0:
		a.began = c.now
	case len(away) == 0:
		a.ended = c.now
	}
	if c.contact.open() {
		return // its end sees to everything
	}
	if len(away) > 0 {
		c.beginIncident(a.cause(), 0)
	} else {
		c.endIncident()
	}
	c.mirror.next = c.now
	if back {
		c.recover()
	}
	c.lookHere()
}

// cause words what is away, for people.
func (a *partsAway) cause() error {
	if len(a.away) == 0 {
		return nil
	}
	var servers, parts []string
	for i := range a.away {
		parts = append(parts, strconv.Itoa(a.away[i].Part))
		if s := a.away[i].Server; s != "" && !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	what := "a part of Redis"
	switch {
	case len(servers) == 1:
		what = "the Redis primary at " + servers[0]
	case len(servers) > 1:
		what = "the Redis primaries at " + strings.Join(servers, " and ")
	}
	why, hint := reason(a.away[0].Cause)
	return &morningai.Error{Code: morningai.CodeUnavailable, Op: "reach the shared engine", Hint: hint,
		Detail: fmt.Sprintf("%s cannot be reached, and with it partitions %s of %d: %s", what, strings.Join(parts, ", "), a.of, why)}
}

// cause is why not everything can be told to the shared engine.
func (c *core) cause() error {
	if c.partly() {
		return c.apart.cause()
	}
	return c.contact.cause
}

// lookHere lets claims that wait for the shared engine look at the journal: it owns
// tasks while a part is away.
func (c *core) lookHere() {
	if !c.backlog.local {
		return
	}
	for _, op := range c.waitingClaims() {
		if op.call != 0 && !op.journal {
			c.end(op.call)
		}
	}
}

// partPace is how often a claim looks at the journal while a part is away.
const partPace = 200 * time.Millisecond

// sendable are the notes of a page that do not concern a part which is away. The
// others are looked at in the pass that follows its return.
func (c *core) sendable(kind morningai.NoteKind, notes []morningai.Note) []morningai.Note {
	if len(c.apart.away) == 0 {
		return notes
	}
	return slices.DeleteFunc(slices.Clone(notes), func(n morningai.Note) bool {
		id, err := subject(kind, &n)
		if err != nil {
			c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
			return false // whoever sends it will say what is wrong
		}
		return c.apart.has(id)
	})
}

// subject is the task that a note is about.
func subject(kind morningai.NoteKind, n *morningai.Note) (morningai.ID, error) {
	switch kind {
	case notePoint:
		var p morningai.Checkpoint
		err := json.Unmarshal(n.Data, &p)
		return p.Lease.ID, err
	case noteCommand:
		var o order
		err := json.Unmarshal(n.Data, &o)
		return o.Command.ID, err
	}
	return n.Key, nil
}

// closed reports whether the shared engine cannot be asked.
func (op *getOp) closed() bool {
	return op.c.contact.open() || len(op.req.IDs) > 0 && op.c.apart.has(op.req.IDs[0])
}

// part reads some of the tasks apart from the others: the shared engine can be asked
// for the first ones only.
func (op *getOp) part(lists ...[]int) {
	p := &parts[morningai.Task]{c: op.c, done: op.done, all: op.tasks, open: len(lists)}
	for _, at := range lists {
		req := op.req
		req.IDs = pick(op.req.IDs, at)
		op.c.get(&getOp{req: req, here: op.here, inside: true, done: func(some []morningai.Task, err error) { p.part(at, some, err) }})
	}
}

func places[T any](list []T) []int {
	at := make([]int, len(list))
	for i := range at {
		at[i] = i
	}
	return at
}

// split parts the tasks into those that the shared engine can be told of now, and
// those of a part that is away.
func (op *enqueueOp) split() (there, gone []int) {
	return op.c.split(places(op.specs), func(i int) morningai.ID { return op.specs[i].ID })
}

// part goes on with some of the tasks apart from the others.
func (op *enqueueOp) part(lists ...[]int) {
	j := &joined{op: op, receipts: make([]morningai.Receipt, len(op.specs)), open: 1}
	for _, at := range lists {
		j.open++
		more := &enqueueOp{c: op.c, inner: true, specs: pick(op.specs, at), fresh: pick(op.fresh, at), durability: op.durability, at: op.at,
			found: op.found, before: op.before, done: func(some []morningai.Receipt, err error) { j.part(at, some, err) }}
		more.noted.done = op.noted.done
		more.begin()
	}
	j.part(nil, nil, nil)
}

// withAway adds to a first page what was last known of the parts that are away.
func (c *core) withAway(op *listOp, page morningai.Page) morningai.Page {
	if !c.partly() {
		return page
	}
	page.Fresh = morningai.FreshStale
	last := c.pages.pages[op.filter]
	for i := range last.Tasks {
		if t := last.Tasks[i]; c.apart.has(t.ID) && !c.known.deleted.has(t.ID, c.now) &&
			!slices.ContainsFunc(page.Tasks, func(x morningai.Task) bool { return x.ID == t.ID }) {
			t.Fresh = morningai.FreshStale
			page.Tasks = append(page.Tasks, t)
		}
	}
	slices.SortStableFunc(page.Tasks, func(a, b morningai.Task) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return page
}
