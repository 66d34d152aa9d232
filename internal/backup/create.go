package backup

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/RC918/morningai"
)

// Source is what a backup is made of.
type Source struct {
	Engine morningai.Engine
	// Incidents returns the reports of outages; nil if there are none.
	Incidents func(context.Context) ([]morningai.Incident, error)
	Program   string // version of the program
	Key       []byte // to sign with; nil: not signed
}

// settleTime is how long a backup waits for what a journal has under way to Redis.
const (
	settleTime = 5 * time.Second
	settleLook = 50 * time.Millisecond
)

// Create writes a backup of a running engine to w, and returns its manifest.
// Everything that was acknowledged before the call, and has not been removed
// since, is in it once. From an engine that can (morningai.Snapshotter), all of it
// is as of one moment; from others each task is as of a moment during the call.
// What a journal has not delivered is not in it: the manifest counts it.
func Create(ctx context.Context, src Source, w io.Writer) (Manifest, error) {
	m := Manifest{Program: src.Program, StartedAt: time.Now().UTC(), Consistency: ConsistencyPerTask, Engine: src.Engine.Capabilities().Name}
	var err error
	if fleet, ok := src.Engine.(morningai.Fleet); ok {
		if m.Undelivered, err = undelivered(ctx, fleet); err != nil {
			return m, err
		}
	}
	if r, ok := src.Engine.(morningai.Restorer); ok {
		state, err := r.RestoreState(ctx)
		if err != nil {
			return m, err
		}
		m.Generation = state.Generation
	}
	m.Data = src.Engine.Capabilities().Data.ID
	contents, err := src.contents(ctx)
	if err != nil {
		return m, err
	}
	m.Queues, m.Incidents = len(contents.Queues), len(contents.Incidents)
	out, err := newWriter(w)
	if err != nil {
		return m, err
	}
	out.emitJSON(kindQueues, contents.Queues)
	out.emitJSON(kindIncidents, contents.Incidents)
	each := func(records []morningai.Record) error {
		for i := range records {
			if err := out.add(&records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if s, ok := src.Engine.(morningai.Snapshotter); ok {
		m.Consistency = ConsistencySnapshot
		err = s.Snapshot(ctx, each)
	} else {
		err = export(ctx, src.Engine, each)
	}
	if err != nil {
		return m, err
	}
	m.FinishedAt = time.Now().UTC()
	return m, out.finish(&m, src.Key)
}

// undelivered waits a moment for what is on its way, and returns what is left.
func undelivered(ctx context.Context, fleet morningai.Fleet) (int64, error) {
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	look := time.NewTicker(settleLook)
	defer look.Stop()
	for {
		n, err := fleet.Undelivered(ctx)
		if err != nil || n == 0 {
			return 0, err
		}
		select {
		case <-limit.Done():
			return n, ctx.Err()
		case <-look.C:
		}
	}
}

// contents reads what there is beside tasks.
func (src *Source) contents(ctx context.Context) (Contents, error) {
	c := Contents{Queues: []morningai.QueueConfig{}, Incidents: []morningai.Incident{}}
	stats, err := src.Engine.Stats(ctx)
	if err != nil {
		return c, err
	}
	for _, q := range stats.Queues {
		if configured(&q.QueueConfig) {
			c.Queues = append(c.Queues, q.QueueConfig)
		}
	}
	if len(c.Queues) > maxQueues {
		return c, &morningai.Error{Code: morningai.CodeTooLarge, Op: "write backup", Detail: fmt.Sprintf("more than %d queues have settings", maxQueues)}
	}
	if src.Incidents != nil {
		reports, err := src.Incidents(ctx)
		if err != nil {
			return c, err
		}
		c.Incidents = append(c.Incidents, reports...)
	}
	return c, nil
}

// configured reports whether somebody has set a queue up.
func configured(q *morningai.QueueConfig) bool {
	return q.Paused || q.Concurrency != 0 || !q.Rate.IsZero() || q.Version > 0
}

// export reads an engine page by page. A task that was accepted at another time
// than it was known for moves to another place, and may be met there again: only
// its first record counts.
func export(ctx context.Context, e morningai.Engine, each func([]morningai.Record) error) error {
	seen := map[morningai.ID]struct{}{}
	for cursor := ""; ; {
		page, err := e.Export(ctx, cursor, morningai.MaxBatch)
		if err != nil {
			return err
		}
		kept := page.Records[:0]
		for _, r := range page.Records {
			if _, again := seen[r.Task.ID]; !again {
				seen[r.Task.ID] = struct{}{}
				kept = append(kept, r)
			}
		}
		if err := each(kept); err != nil {
			return err
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
