package resilient

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// rebuild is the time in which the shared engine, which has lost data, is told
// what it has lost. The circuit stays open meanwhile: the node works on its own,
// new tasks run, and nothing older is handed out before everybody has said what
// is finished. Tasks that have still to be done follow when the circuit closes.
type rebuild struct {
	data    morningai.DataSet
	began   time.Time
	told    bool                  // this node has reported
	awaited map[morningai.ID]bool // members that have not
	unsure  map[morningai.ID]bool // members that cannot tell everything
}

// rebuildGrace is how long the members are waited for.
const rebuildGrace = 10 * time.Second

// rebuildLeast is more than the time between two beats: a member that has joined
// just before the loss shows itself.
const rebuildLeast = acquaintance

var errDataLost error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "reach the shared engine",
	Detail: "Redis has lost data that it had acknowledged", Hint: "it is told again what the journals know; find out why it came back empty or with older data"}

// noteData takes in which data the shared engine works on.
func (c *core) noteData(d morningai.DataSet) {
	known := c.mirror.Data
	if c.rebuild != nil {
		known = c.rebuild.data
	}
	switch {
	case d.ID.IsZero() || known.Same(d):
	case known.ID.IsZero():
		c.mirror.Data, c.known.generation = d, d.Generation
		c.writeMirror()
	case d.Generation < known.Generation && c.met: // an answer from before
	default:
		c.beginRebuild(d)
	}
}

func (c *core) beginRebuild(d morningai.DataSet) {
	r := &rebuild{data: d, began: c.now, awaited: map[morningai.ID]bool{}, unsure: map[morningai.ID]bool{}}
	if c.crashed && c.now.Sub(c.startedAt) < crashMatters {
		r.unsure[c.cfg.member] = true
	}
	for i := range c.members {
		if m := &c.members[i]; m.Journal != c.cfg.member && m.Reported != d.Lineage {
			r.awaited[m.Journal] = true
		}
	}
	c.rebuild, c.known.generation = r, d.Generation
	for _, h := range c.held {
		h.sending = false // it was told to data that are gone
	}
	for _, s := range c.sessions {
		s.forgetShared()
	}
	c.log(slog.LevelWarn, "Redis has lost data that it had acknowledged, it is told again what this node knows", "generation", d.Generation, "members", len(r.awaited)+1)
	if c.contact.open() {
		c.incidents.lossNoticed()
	} else {
		c.openCircuit(errDataLost)
		c.contact.next = c.now
	}
	b := &c.backlog
	b.full, b.calm, b.loss, b.lossAt, b.due = true, false, true, c.now, c.now
	b.anew, b.queuesBack, b.comparing = b.busy, false, true
	b.restart(stageSettings)
}

// reporting reports that it is time to tell the shared engine what it has lost,
// although nothing else goes there.
func (c *core) reporting() bool {
	return c.rebuild != nil && !c.rebuild.told && c.contact.state == morningai.ContactRecovering
}

// hasReported ends the report; with the next beat the others know.
func (c *core) hasReported() {
	c.rebuild.told = true
	c.backlog.due = time.Time{}
}

// reportedOn is the data about which this node has told all that it knows.
func (c *core) reportedOn() uint64 {
	if c.rebuild != nil && c.rebuild.told {
		return c.rebuild.data.Lineage
	}
	return c.mirror.Data.Lineage
}

// crashedOn is the data about which this node cannot tell what an earlier process
// of it had run.
func (c *core) crashedOn() uint64 {
	if r := c.rebuild; r != nil {
		if r.unsure[c.cfg.member] {
			return r.data.Lineage
		}
		return 0
	}
	if slices.Contains(c.mirror.Missing, c.cfg.member) {
		return c.mirror.Data.Lineage
	}
	return 0
}

// crashMatters is for how long after its start a node takes into account that the
// shared engine may have lost what it had noted about the process before.
const crashMatters = 10 * time.Minute

// rebuilt reports that the shared engine can be relied on, as far as losses go.
func (c *core) rebuilt() bool {
	r := c.rebuild
	waited := time.Duration(0)
	if r != nil { // nobody can report while the shared engine is away
		waited = c.now.Sub(later(r.began, c.contact.passedAt))
	}
	return r == nil || r.told && (len(r.awaited) == 0 && waited >= rebuildLeast || waited >= rebuildGrace)
}

// endRebuild lets work go on. What members that are not there may have run is
// marked from now on when it is handed out.
func (c *core) endRebuild() {
	r := c.rebuild
	if r == nil {
		return
	}
	c.rebuild = nil
	m := &c.mirror
	m.Data, m.Lost = r.data, true
	maps.Copy(r.awaited, r.unsure)
	m.Missing = slices.SortedFunc(maps.Keys(r.awaited), func(a, b morningai.ID) int { return bytes.Compare(a[:], b[:]) })
	c.writeMirror()
	c.markSoon()
	if len(m.Missing) > 0 {
		c.log(slog.LevelWarn, "work goes on although not every node has told what it had finished: what is handed out again may have run there", "nodes", len(m.Missing))
	}
}

// heardFrom takes in what the members on record have told. While data are being
// rebuilt those that are missing from the record were lost with it.
func (c *core) heardFrom(members []morningai.Member) []morningai.Member {
	r := c.rebuild
	var there []morningai.ID
	for i := range members {
		m := &members[i]
		there = append(there, m.Journal)
		if r != nil && m.Reported == r.data.Lineage {
			delete(r.awaited, m.Journal)
			if m.Crashed == r.data.Lineage {
				r.unsure[m.Journal] = true
			}
		} else if r != nil && m.Journal != c.cfg.member {
			r.awaited[m.Journal] = true
		}
		if r == nil && m.Reported == c.mirror.Data.Lineage && m.Crashed != c.mirror.Data.Lineage {
			c.mirror.Missing = slices.DeleteFunc(c.mirror.Missing, func(id morningai.ID) bool { return id == m.Journal })
		}
	}
	if r == nil { // one that was forgotten cannot be missed
		c.mirror.Missing = slices.DeleteFunc(c.mirror.Missing, func(id morningai.ID) bool { return !slices.Contains(there, id) })
		return members
	}
	for i := range c.members {
		if !slices.Contains(there, c.members[i].Journal) {
			lost := c.members[i]
			lost.Connected = false
			members = append(members, lost)
		}
	}
	slices.SortFunc(members, func(a, b morningai.Member) int { return bytes.Compare(a.Journal[:], b.Journal[:]) })
	return members
}

// markRepeat marks a task that is handed out although a node that may have run it
// has not told what it had finished when data were lost.
func (c *core) markRepeat(g *morningai.Grant) {
	m := &c.mirror
	if len(m.Missing) == 0 || g.Task.MaybeRepeated || acceptedAt(&g.Task).After(m.Data.LostAt.Add(clearMargin)) {
		return
	}
	g.Task.MaybeRepeated = true
	c.mayBeRepeated(g.Task.ID)
	c.log(slog.LevelWarn, "a task runs that may have run before, on a node that is not there", "task_id", g.Task.ID)
	c.checkpoint(&checkpointOp{points: []morningai.Checkpoint{{Lease: g.Lease, Kind: morningai.CheckpointRepeat}},
		parts: parts[error]{done: func([]error, error) {}}})
}

// othersNotice is more than the time in which nodes that run notice that the shared
// engine is back, and with it that it has lost data.
const othersNotice = 600 * time.Millisecond

// firstContact is the first answer to a process. It knows less of what was
// acknowledged than those that were there when the shared engine went: unless it
// follows a process that has ended in good order, it begins nothing before they have
// looked.
func (c *core) firstContact() {
	if c.met {
		return
	}
	c.met = true
	if !c.crashed && c.contact.opened.IsZero() {
		c.trusted = true
		return
	}
	c.after(othersNotice, func() {
		c.trusted = true
		c.resumeClaims()
	})
}

// unproved reports that it is not known yet whether the shared engine still has
// what an earlier process of this node was acknowledged, or that it has still to
// be told what that has finished.
func (c *core) unproved() bool {
	b := &c.backlog
	return !c.mirror.Data.ID.IsZero() && (!c.trusted || !b.started || b.first && b.stage <= lastOfReport)
}
