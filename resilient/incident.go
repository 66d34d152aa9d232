package resilient

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// incidents keeps the report of the outage that lasts, or of the last one until
// everything about it is settled. Reports live in the journal.
type incidents struct {
	current morningai.Incident // ID is zero while there has been none since the start
	lasting bool
	settled bool
	next    time.Time // when it has to be written; zero: it has not changed
}

const (
	writeIncidentEvery = time.Second
	keepIncidents      = 1000
)

// beginIncident opens a report. An outage that begins before all of the last one
// is delivered belongs to it.
func (c *core) beginIncident(cause error, noticed time.Duration) {
	i := &c.incidents
	text, hint := reason(cause)
	if i.current.ID.IsZero() || i.settled {
		c.writeIncident() // the last one as it stands
		i.current = morningai.Incident{ID: c.newID(), Node: c.cfg.node, StartedAt: c.now.UTC(), NoticedAfter: noticed}
	}
	i.current.Cause, i.current.Hint, i.current.EndedAt = text, hint, time.Time{}
	i.lasting, i.settled, i.next = true, false, c.now
	c.nameUnprotected()
	what := "Redis is away, this node works on its own until it is back"
	if c.partly() {
		what = "a part of Redis is away, this node works on its own for the tasks in it until it is back"
	}
	c.log(slog.LevelWarn, what, "cause", text, "hint", hint,
		"noticed_after", noticed.Round(time.Millisecond), "incident", i.current.ID)
}

// explainIncident gives a report that knows of silence alone the cause that a
// probe has found.
func (c *core) explainIncident(err error) {
	i := &c.incidents
	text, hint := reason(err)
	was, advice := reason(errSilent)
	if !i.lasting || text == "" || i.current.Cause != was || i.current.Hint != advice || text == was && hint == advice {
		return
	}
	i.current.Cause, i.current.Hint, i.next = text, hint, c.now
	c.log(slog.LevelWarn, "what keeps Redis away is known now", "cause", text, "hint", hint, "incident", i.current.ID)
}

// resumeIncident takes up the last report of an earlier process of this node. One
// that was settled is not opened again, but what turns out later belongs to it.
// What was accepted in the moment before a crash is counted by what is there.
func (c *core) resumeIncident(last morningai.Incident) {
	i := &c.incidents
	i.current, i.lasting = last, last.EndedAt.IsZero()
	i.settled = !i.lasting && last.Backlog == 0
	if !i.settled {
		i.current.Accepted = max(last.Accepted, c.backlog.own+c.backlog.owned)
	}
}

func (c *core) endIncident() {
	i := &c.incidents
	i.lasting = false
	if i.current.ID.IsZero() {
		return
	}
	i.current.EndedAt, i.next = c.now.UTC(), c.now
	c.log(slog.LevelInfo, "Redis is back, what this node holds is delivered", "lasted", c.now.Sub(i.current.StartedAt).Round(time.Millisecond),
		"undelivered", c.backlog.undelivered(), "incident", i.current.ID)
}

// settleIncident closes the report once nothing is left to be delivered.
func (c *core) settleIncident() {
	i := &c.incidents
	if i.lasting || i.settled || i.current.ID.IsZero() || c.backlog.undelivered() > 0 {
		return
	}
	i.settled = true
	c.writeIncident()
	r := &i.current
	level := slog.LevelInfo
	if r.Lost > 0 {
		level = slog.LevelError
	}
	c.log(level, "the outage is settled", "incident", r.ID, "cause", r.Cause, "lasted", r.EndedAt.Sub(r.StartedAt).Round(time.Millisecond),
		"accepted", r.Accepted, "ran_locally", r.RanLocally, "delivered", r.Delivered, "forwarded", r.Forwarded, "replayed", r.Replayed,
		"repeated", r.Repeated, "superseded", r.Superseded, "set_aside", r.SetAside, "refused", r.Refused, "lost", r.Lost)
}

// writeIncident puts the report as it stands into the journal.
func (c *core) writeIncident() {
	i := &c.incidents
	i.next = time.Time{}
	if i.current.ID.IsZero() {
		return
	}
	if !i.settled {
		i.next = c.now.Add(writeIncidentEvery)
	}
	i.current.Backlog = 0
	if !i.settled { // what waits after that belongs to the next outage
		i.current.Backlog = c.backlog.undelivered()
	}
	note, err := jsonNote(keyOf(noteIncident, i.current.ID), "", &i.current)
	if err != nil {
		c.log(slog.LevelError, "the report of an outage cannot be written", "error", err)
		return
	}
	c.noteInOrder([]morningai.Note{note}, func(err error) {
		if err != nil && !i.settled {
			i.next = c.now.Add(writeIncidentEvery)
		}
	})
}

func (i *incidents) accepted(n int) { i.current.Accepted += int64(n) }

func (i *incidents) refused(n int) { i.current.Refused += int64(n) }

func (c *core) repeated(id morningai.ID) {
	i := c.toReport()
	i.current.Repeated++
	i.current.RepeatedIDs = addID(i.current.RepeatedIDs, id)
}

func (c *core) mayBeRepeated(id morningai.ID) {
	i := c.toReport()
	i.current.MaybeRepeated++
	i.current.MaybeRepeatedIDs = addID(i.current.MaybeRepeatedIDs, id)
}

var errUnnoticed error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "look back",
	Detail: "no outage was noticed here, but tasks show that there was one", Hint: "this node, or Redis, was started again or cut off, or Redis has lost what it had just acknowledged"}

// toReport is the report that takes in what people have to look into. What turns out
// although nothing was noticed gets one of its own.
func (c *core) toReport() *incidents {
	i := &c.incidents
	if i.current.ID.IsZero() {
		had := i.current // what was counted meanwhile
		had.ID, had.Node, had.StartedAt, had.EndedAt = c.newID(), c.cfg.node, c.now.UTC(), c.now.UTC()
		had.Cause, had.Hint = reason(errUnnoticed)
		i.current, i.settled = had, false
	}
	i.next = soon
	return i
}

// lossNoticed adds to the report of an outage what came of it.
func (i *incidents) lossNoticed() {
	text, hint := reason(errDataLost)
	if i.current.ID.IsZero() || i.current.Cause == text {
		return
	}
	if i.current.Hint != "" {
		hint = i.current.Hint + "; " + hint
	}
	i.current.Cause, i.current.Hint, i.next = i.current.Cause+"; then "+text, hint, soon
}

func (c *core) hasSetAside(id morningai.ID) {
	i := c.toReport()
	i.current.SetAside++
	i.current.SetAsideIDs = addID(i.current.SetAsideIDs, id)
}

func (i *incidents) lost(id morningai.ID) {
	i.current.Lost++
	i.next = soon
	i.current.LostIDs = addID(i.current.LostIDs, id)
}

// nameUnprotected adds nodes without a journal to a report that is not settled. A
// session of a member's name is one that its process has left behind.
func (c *core) nameUnprotected() {
	i := &c.incidents
	if i.current.ID.IsZero() || i.settled {
		return
	}
	for _, n := range c.alone {
		member := slices.ContainsFunc(c.members, func(m morningai.Member) bool { return m.Node == n })
		if !member && !slices.Contains(i.current.Unprotected, n) {
			i.current.Unprotected, i.next = append(slices.Clip(i.current.Unprotected), n), soon
		}
	}
}

// soon is a time that has come: what people have to look into is written at once.
var soon = time.Unix(0, 1)

func addID(ids []morningai.ID, id morningai.ID) []morningai.ID {
	if len(ids) >= morningai.MaxIncidentIDs {
		return ids
	}
	return append(ids, id)
}

// trimIncidents forgets the oldest reports when there are too many.
func (c *core) trimIncidents() {
	extra := c.disk.info.Notes[noteIncident] - keepIncidents
	if extra <= 0 {
		return
	}
	onJournal(c, "notes", func(ctx context.Context) ([]morningai.Note, error) {
		return c.journal.Notes(ctx, noteIncident, 0, int(extra))
	}, func(notes []morningai.Note, err error) {
		if err == nil {
			c.erase(keysOf(notes)...)
		}
	})
}

// newID is an id of the moment. It is made from the core's own randomness, so
// that a simulation repeats itself.
func (c *core) newID() morningai.ID {
	var id morningai.ID
	binary.BigEndian.PutUint64(id[:8], uint64(c.now.UnixMilli())<<16|uint64(c.random()*(1<<12)))
	binary.BigEndian.PutUint64(id[8:], uint64(c.random()*(1<<62)))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}
