package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Target is what tasks are put into.
type Target struct {
	Engine morningai.Engine
	// Incidents keeps reports of outages; nil if there is no place for them.
	Incidents func(context.Context, []morningai.Incident) error
	// Merge allows a target that holds something. Of each task what is further on
	// stays, whichever side it is on.
	Merge bool
	// Progress is told how many records are done, of how many. May be nil.
	Progress func(done, total int64)
}

// Restored says what a restore has done.
type Restored struct {
	Report   *Report `json:"-"`
	Added    int64   `json:"added"`    // were unknown
	Updated  int64   `json:"updated"`  // were behind
	Kept     int64   `json:"kept"`     // were as far or further on
	Requeued int64   `json:"requeued"` // ran when the backup was made
	Queues   int     `json:"queues"`   // whose settings were put back
	// Incidents that were put back, and those that there was no place for.
	Incidents     int   `json:"incidents"`
	IncidentsLeft int   `json:"incidents_left"`
	Generation    int64 `json:"generation"`
}

// Restore checks a whole backup, and then what it is to be put into, before it
// changes anything. open is called for the target when the file is found good.
// Tasks that ran when the backup was made are queued, their attempts are recorded
// as lost; what had ended stays so. A restore that was interrupted is repeated with
// the same file; until then, what it has left half done is refused to servers.
func Restore(ctx context.Context, path string, key []byte, open func(context.Context, *Report) (Target, error)) (_ *Restored, err error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	report, err := verify(ctx, f, key)
	if err != nil {
		return nil, err
	}
	to, err := open(ctx, report)
	if err != nil {
		return nil, err
	}
	state, err := to.accepts(ctx, report.mark())
	if err != nil {
		return nil, err
	}
	out := &Restored{Report: report}
	if err := to.begin(ctx, state, report.mark()); err != nil {
		return nil, err
	}
	if out.Queues, err = to.putQueues(ctx, report.Contents.Queues); err != nil {
		return nil, err
	}
	in := &importer{Target: to, at: report.StartedAt, out: out, total: report.Tasks + report.Deleted}
	if _, err := readAll(ctx, f, key, report, func(records []morningai.Record) error { return in.add(ctx, records) }); err != nil {
		return nil, err
	}
	if err := in.flush(ctx); err != nil {
		return nil, err
	}
	if err := to.putIncidents(ctx, report.Contents.Incidents, report.FinishedAt, out); err != nil {
		return nil, err
	}
	out.Generation, err = to.end(ctx, state, report.Generation)
	return out, err
}

// mark names a backup among others.
func (r *Report) mark() int64 { return int64(binary.BigEndian.Uint64(r.sum) | 1) }

// accepts refuses a target that must not be written to.
func (to *Target) accepts(ctx context.Context, mark int64) (state morningai.RestoreState, err error) {
	if r, ok := to.Engine.(morningai.Restorer); ok {
		if state, err = r.RestoreState(ctx); err != nil {
			return state, err
		}
	}
	switch {
	case state.Unfinished == mark:
		return state, nil // it goes on
	case state.Unfinished != 0:
		return state, &morningai.Error{Code: morningai.CodeConflict, Op: "restore", Detail: "another restore or migration into this target was interrupted, and only that one can be repeated",
			Hint: "repeat it, or use an empty target"}
	case to.Merge:
		return state, nil
	}
	what, err := occupied(ctx, to.Engine)
	if err != nil || what == "" {
		return state, err
	}
	return state, &morningai.Error{Code: morningai.CodeConflict, Op: "restore", Detail: "the target is not empty: it holds " + what,
		Hint: "use an empty target; or --merge, which keeps of each task what is further on, and takes nothing away"}
}

// occupied says what an engine holds; "": nothing.
func occupied(ctx context.Context, e morningai.Engine) (string, error) {
	stats, err := e.Stats(ctx)
	if err != nil {
		return "", err
	}
	tasks := int64(0)
	for _, n := range stats.States {
		tasks += n
	}
	queues := slices.ContainsFunc(stats.Queues, func(q morningai.QueueInfo) bool { return configured(&q.QueueConfig) })
	page, err := e.Export(ctx, "", 1)
	switch {
	case err != nil:
		return "", err
	case tasks == 1:
		return "1 task", nil
	case tasks > 0:
		return fmt.Sprintf("%d tasks", tasks), nil
	case len(page.Records) > 0:
		return "the ids of tasks that have ended or were deleted", nil
	case queues:
		return "settings of queues", nil
	}
	return "", nil
}

func (to *Target) begin(ctx context.Context, state morningai.RestoreState, mark int64) error {
	r, ok := to.Engine.(morningai.Restorer)
	if !ok {
		return nil
	}
	state.Unfinished = mark
	return r.SetRestoreState(ctx, state)
}

// end raises the generation over that of the target and of what came in.
func (to *Target) end(ctx context.Context, state morningai.RestoreState, generation int64) (int64, error) {
	r, ok := to.Engine.(morningai.Restorer)
	if !ok {
		return 0, nil
	}
	state = morningai.RestoreState{Generation: max(state.Generation, generation) + 1}
	return state.Generation, r.SetRestoreState(ctx, state)
}

// putQueues sets up queues, before there are tasks that they hold back. What was
// changed more often on the target stays.
func (to *Target) putQueues(ctx context.Context, queues []morningai.QueueConfig) (int, error) {
	stats, err := to.Engine.Stats(ctx)
	if err != nil {
		return 0, err
	}
	known := map[string]morningai.QueueConfig{}
	for _, q := range stats.Queues {
		known[q.Name] = q.QueueConfig
	}
	put := 0
	for _, q := range queues {
		there := known[q.Name]
		if there.Paused == q.Paused && there.Concurrency == q.Concurrency && there.Rate == q.Rate || there.Version > q.Version {
			continue
		}
		if _, err := to.Engine.SetQueue(ctx, q.Name, morningai.QueueChange{Paused: &q.Paused, Concurrency: &q.Concurrency, Rate: &q.Rate}); err != nil {
			return put, err
		}
		put++
	}
	return put, nil
}

// putIncidents puts reports back. An outage that lasted when the backup was made
// has not been seen to its end.
func (to *Target) putIncidents(ctx context.Context, all []morningai.Incident, at time.Time, out *Restored) error {
	if to.Incidents == nil {
		out.IncidentsLeft = len(all)
		return nil
	}
	ended := slices.Clone(all)
	for i := range ended {
		if ended[i].Backlog = 0; ended[i].EndedAt.IsZero() {
			ended[i].EndedAt = at
		}
	}
	out.Incidents = len(ended)
	if len(ended) == 0 {
		return nil
	}
	return to.Incidents(ctx, ended)
}
