package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

// Migration is what would be moved from one engine to another, or was.
type Migration struct {
	Tasks   int64                     `json:"tasks"` // in the source
	States  map[morningai.State]int64 `json:"states"`
	Deleted int64                     `json:"deleted"`
	Queues  int                       `json:"queues"` // with settings
	// Incidents are reports of outages in the source.
	Incidents int `json:"incidents"`
	// Present is how many of these the target has, Foreign how many others.
	Present int64 `json:"present"`
	Foreign int64 `json:"foreign"`
	// Workers are on record in the source: what they change while a migration runs
	// may not come along.
	Workers int `json:"workers"`

	Applied  *Restored `json:"applied,omitempty"`
	Verified int64     `json:"verified"` // are in the target as they were in the source
	Ahead    int64     `json:"ahead"`    // are further on in the target
	Expired  int64     `json:"expired"`  // had ended, and their retention is over
	// Digest and DigestHere are checksums of what both sides have, as read from
	// the source and from the target.
	Digest     string `json:"digest"`
	DigestHere string `json:"target_digest"`
}

// Mover moves everything from one engine to another.
type Mover struct {
	From Source
	To   Target // Engine is nil if it does not exist yet
	// Name tells this source from others, should the migration be interrupted.
	Name string
	// Keep says for how long the target keeps a record that has ended.
	Keep func(*morningai.Record) time.Duration
}

// Plan looks at both sides and changes nothing.
func (m *Mover) Plan(ctx context.Context) (*Migration, error) {
	out := &Migration{}
	ids := map[morningai.ID]struct{}{}
	counts := newTally()
	if err := m.scan(ctx, func(r *morningai.Record) error {
		counts.add(r, nil)
		ids[r.Task.ID] = struct{}{}
		return nil
	}); err != nil {
		return nil, err
	}
	out.Tasks, out.Deleted, out.States = counts.tasks, counts.deleted, counts.states
	contents, err := m.From.contents(ctx)
	if err != nil {
		return nil, err
	}
	out.Queues, out.Incidents = len(contents.Queues), len(contents.Incidents)
	stats, err := m.From.Engine.Stats(ctx)
	if err != nil {
		return nil, err
	}
	out.Workers = len(stats.Sessions)
	if m.To.Engine == nil {
		return out, nil
	}
	err = export(ctx, m.To.Engine, func(records []morningai.Record) error {
		for i := range records {
			if _, ours := ids[records[i].Task.ID]; ours {
				out.Present++
			} else {
				out.Foreign++
			}
		}
		return nil
	})
	return out, err
}

// scan reads the source.
func (m *Mover) scan(ctx context.Context, each func(*morningai.Record) error) error {
	all := func(records []morningai.Record) error {
		for i := range records {
			if err := each(&records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if s, ok := m.From.Engine.(morningai.Snapshotter); ok {
		return s.Snapshot(ctx, all)
	}
	return export(ctx, m.From.Engine, all)
}

// Apply moves what plan has found, and compares both sides afterwards. It may be
// repeated, whether it was interrupted or not: what the target has stays as it is,
// or further on.
func (m *Mover) Apply(ctx context.Context, plan *Migration) (_ *Migration, err error) {
	out := *plan
	if out.Foreign > 0 && !m.To.Merge {
		return nil, &morningai.Error{Code: morningai.CodeConflict, Op: "migrate", Detail: fmt.Sprintf("the target holds %d tasks that the source does not have", out.Foreign),
			Hint: "use an empty target; or --merge, which keeps of each task what is further on, and takes nothing away"}
	}
	sum := sha256.Sum256([]byte(m.Name))
	mark := int64(binary.BigEndian.Uint64(sum[:]) | 1)
	to := m.To
	to.Merge = true // what it holds is known
	state, err := to.accepts(ctx, mark)
	if err != nil {
		return nil, err
	}
	generation := int64(0)
	if r, ok := m.From.Engine.(morningai.Restorer); ok {
		from, err := r.RestoreState(ctx)
		if err != nil {
			return nil, err
		}
		generation = from.Generation
	}
	contents, err := m.From.contents(ctx)
	if err != nil {
		return nil, err
	}
	if err := to.begin(ctx, state, mark); err != nil {
		return nil, err
	}
	done := &Restored{}
	out.Applied = done
	if done.Queues, err = to.putQueues(ctx, contents.Queues); err != nil {
		return nil, err
	}
	c := &comparison{expected: make(map[morningai.ID]expectation, out.Tasks+out.Deleted), keep: m.Keep}
	in := &importer{Target: to, at: time.Now(), out: done, total: out.Tasks + out.Deleted, seen: c.expect}
	if err := m.scan(ctx, func(r *morningai.Record) error { return in.add(ctx, []morningai.Record{*r}) }); err != nil {
		return nil, err
	}
	if err := in.flush(ctx); err != nil {
		return nil, err
	}
	if err := to.putIncidents(ctx, contents.Incidents, time.Now().UTC(), done); err != nil {
		return nil, err
	}
	if err := c.compare(ctx, to.Engine, &out); err != nil {
		return nil, err
	}
	done.Generation, err = to.end(ctx, state, generation)
	return &out, err
}

// expectation is what a record of the target must be.
type expectation struct {
	sum   uint64
	until uint32 // when it may be gone, in seconds; 0: it must be there
	ahead bool   // the target had it, as far or further on
}

// comparison checks that everything arrived.
type comparison struct {
	expected map[morningai.ID]expectation
	keep     func(*morningai.Record) time.Duration
	from, to uint64 // sums of the hashes of what both sides have
	err      error
}

func (c *comparison) expect(r *morningai.Record, status morningai.ImportStatus) {
	sum := c.hash(r)
	x := expectation{sum: binary.BigEndian.Uint64(sum[:]), ahead: status == morningai.ImportKept || status == morningai.ImportRepeated}
	switch {
	case r.Deleted: // an engine that forgets sooner than another is right too
		x.until = 1
	case r.Task.State.Terminal():
		x.until = uint32(max(1, r.Task.FinishedAt.Add(c.keep(r)).Unix()))
	}
	c.expected[r.Task.ID] = x
}

// hash is of what a record says, whatever engine it is in: they keep times to the
// microsecond, and of a deleted task the id alone.
func (c *comparison) hash(r *morningai.Record) [sha256.Size]byte {
	n := *r
	t := &n.Task
	if n.Deleted {
		return sha256.Sum256(append([]byte("deleted"), t.ID[:]...))
	}
	n.Session = morningai.SessionID{}
	for _, at := range []*time.Time{&t.CreatedAt, &t.RunAt, &t.StartedAt, &t.FinishedAt} {
		*at = at.Truncate(time.Microsecond)
	}
	if t.State == morningai.StateScheduled { // one that is due is queued at once
		t.State = morningai.StateQueued
	}
	if t.RunAt = (time.Time{}); !t.State.Terminal() {
		t.Version = 1
	}
	n.Attempts = append([]morningai.Attempt(nil), n.Attempts...)
	for i := range n.Attempts {
		a := &n.Attempts[i]
		a.StartedAt, a.FinishedAt = a.StartedAt.Truncate(time.Microsecond), a.FinishedAt.Truncate(time.Microsecond)
	}
	n.Logs = append([]morningai.LogLine(nil), n.Logs...)
	for i := range n.Logs {
		n.Logs[i].At = n.Logs[i].At.Truncate(time.Microsecond)
	}
	packed, err := n.AppendBinary(nil)
	if err != nil && c.err == nil {
		c.err = err
	}
	return sha256.Sum256(packed)
}

// compare reads the target.
func (c *comparison) compare(ctx context.Context, e morningai.Engine, out *Migration) error {
	var differ []morningai.ID
	err := export(ctx, e, func(records []morningai.Record) error {
		for i := range records {
			r := &records[i]
			x, ours := c.expected[r.Task.ID]
			if !ours {
				continue
			}
			delete(c.expected, r.Task.ID)
			sum := c.hash(r)
			here := binary.BigEndian.Uint64(sum[:])
			if here != x.sum && x.ahead {
				out.Ahead++
				continue
			}
			c.from += x.sum
			c.to += here
			if here == x.sum {
				out.Verified++
			} else {
				differ = append(differ, r.Task.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	for id, x := range c.expected {
		if x.until != 0 && int64(x.until) <= now || x.ahead {
			out.Expired++
			continue
		}
		differ = append(differ, id)
	}
	if c.err != nil {
		return c.err
	}
	out.Digest, out.DigestHere = fmt.Sprintf("%016x", c.from), fmt.Sprintf("%016x", c.to)
	if len(differ) > 0 {
		return &morningai.Error{Code: CodeNotVerified, Op: "migrate", Detail: fmt.Sprintf("%d tasks are not in the target as they were in the source, %s among them", len(differ), differ[0]),
			Hint: "make sure that nobody works on either side, and repeat the command"}
	}
	return nil
}

// CodeNotVerified: the two sides of a migration differ.
const CodeNotVerified morningai.Code = "not_verified"
