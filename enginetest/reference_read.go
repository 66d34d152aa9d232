package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/RC918/morningai"
)

// How long the reference keeps things.
const (
	keepEnded = 24 * time.Hour
	linger    = time.Minute
	// orphanGrace is how long an imported running task waits for its session.
	orphanGrace = 200 * time.Millisecond
)

func cursorOf(n int) string { return fmt.Sprintf("%012d", n) }

func cloneMap[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

func (e *Reference) snapshot(t *entry) morningai.Task {
	task := cloneTask(t.Task)
	task.Fresh, task.AsOf = morningai.FreshLive, e.setup.Now().UTC()
	return task
}

func cloneTask(task morningai.Task) morningai.Task {
	task.Payload, task.Result, task.Progress = slices.Clone(task.Payload), slices.Clone(task.Result), slices.Clone(task.Progress)
	task.Metadata = cloneMap(task.Metadata)
	if task.Error != nil {
		failure := *task.Error
		task.Error = &failure
	}
	return task
}

func cloneRecord(r morningai.Record) morningai.Record {
	r.Task = cloneTask(r.Task)
	r.Attempts, r.Logs, r.Steps = slices.Clone(r.Attempts), slices.Clone(r.Logs), cloneMap(r.Steps)
	return r
}

// visible says whether readers see the task at this moment.
func (e *Reference) visible(t *entry, lingering bool) bool {
	if t == nil || t.Deleted {
		return false
	}
	if !t.Task.State.Terminal() {
		return true
	}
	keep := keepEnded
	if t.Retention != nil {
		keep = *t.Retention
	}
	if lingering {
		keep = max(keep, linger)
	}
	return e.setup.Now().Sub(t.Task.FinishedAt) < keep
}

// forgotten says whether the id of an ended task is free again.
func (e *Reference) forgotten(t *entry) bool {
	keep := time.Hour
	if t.Retention != nil {
		keep = max(keep, *t.Retention)
	} else {
		keep = max(keep, keepEnded)
	}
	return t.Task.State.Terminal() && e.setup.Now().Sub(t.Task.FinishedAt) > keep
}

func (e *Reference) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.Task, len(req.IDs))
	for i, id := range req.IDs {
		if t := e.tasks[id]; e.visible(t, req.Lingering) {
			out[i] = e.snapshot(t)
		}
	}
	return out, nil
}

func (e *Reference) History(ctx context.Context, id morningai.ID) (morningai.History, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.History{}, err
	}
	defer e.mu.Unlock()
	t := e.tasks[id]
	if !e.visible(t, true) {
		return morningai.History{}, morningai.ErrNotFound
	}
	return morningai.History{Attempts: slices.Clone(t.Attempts), Logs: slices.Clone(t.Logs)}, nil
}

func (e *Reference) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.Page{}, err
	}
	defer e.mu.Unlock()
	limit := cmp.Or(f.Limit, 50)
	var after int
	if f.Cursor != "" {
		var err error
		if after, err = strconv.Atoi(f.Cursor); err != nil {
			return morningai.Page{}, morningai.ErrInvalidInput
		}
	}
	if limit < 1 || limit > 1000 || f.State != "" && f.State != morningai.StateRetrying && !f.State.Valid() {
		return morningai.Page{}, morningai.ErrInvalidInput
	}
	page := morningai.Page{Fresh: morningai.FreshLive, AsOf: e.setup.Now().UTC()}
	for _, t := range slices.Backward(e.sorted()) {
		at := int(t.Task.CreatedAt.UnixMicro())
		if after != 0 && at >= after || !e.visible(t, false) || !matches(&t.Task, f) {
			continue
		}
		if len(page.Tasks) == limit {
			page.Next = strconv.Itoa(int(page.Tasks[limit-1].CreatedAt.UnixMicro()))
			break
		}
		page.Tasks = append(page.Tasks, e.snapshot(t))
	}
	return page, nil
}

func matches(t *morningai.Task, f morningai.Filter) bool {
	state := f.State == "" || t.State == f.State || f.State == morningai.StateRetrying && retrying(t)
	return state && (f.Queue == "" || t.Queue == f.Queue) && (f.Type == "" || t.Type == f.Type) &&
		(f.TraceID.IsZero() || t.TraceID == f.TraceID)
}

func retrying(t *morningai.Task) bool { return t.State == morningai.StateScheduled && t.Failures > 0 }

func (e *Reference) members() []morningai.Session {
	out := make([]morningai.Session, 0, len(e.sessions))
	for _, id := range slices.SortedFunc(maps.Keys(e.sessions), compareSessions) {
		s := e.sessions[id].Session
		for _, t := range e.tasks {
			if t.Task.State == morningai.StateRunning && t.Session == s.ID {
				s.Running++
			}
		}
		out = append(out, s)
	}
	return out
}

func (e *Reference) Stats(ctx context.Context) (morningai.Stats, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.Stats{}, err
	}
	defer e.mu.Unlock()
	s := morningai.Stats{
		States: noCounts(), Sessions: e.members(), Fresh: morningai.FreshLive, AsOf: e.setup.Now().UTC(),
		Throughput: morningai.Throughput{Window: time.Minute},
	}
	infos := map[string]*morningai.QueueInfo{}
	for name, l := range e.lines {
		info := &morningai.QueueInfo{QueueConfig: l.config, Counts: noCounts()}
		info.Counts[morningai.StateRetrying] = 0
		infos[name] = info
	}
	for _, t := range e.sorted() {
		if !e.visible(t, false) {
			continue
		}
		info := infos[t.Task.Queue]
		s.States[t.Task.State]++
		info.Counts[t.Task.State]++
		if retrying(&t.Task) {
			info.Counts[morningai.StateRetrying]++
		}
		if t.Task.State == morningai.StateQueued && info.OldestQueuedAt.IsZero() {
			info.OldestQueuedAt = t.Task.CreatedAt
		}
	}
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		s.Queues = append(s.Queues, *infos[name])
	}
	for _, c := range e.thru {
		if e.setup.Now().Sub(c.at) > time.Minute {
			continue
		}
		switch c.outcome {
		case "":
			s.Throughput.Enqueued++
		case morningai.OutcomeSucceeded:
			s.Throughput.Succeeded++
		case morningai.OutcomeRetry:
			s.Throughput.Retried++
		case morningai.OutcomeFailed:
			s.Throughput.Failed++
		case morningai.OutcomeCanceled:
			s.Throughput.Canceled++
		}
	}
	return s, nil
}

func noCounts() map[morningai.State]int64 {
	counts := map[morningai.State]int64{}
	for _, s := range morningai.States() {
		counts[s] = 0
	}
	return counts
}

func (e *Reference) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	deadline := time.Now().Add(req.Wait)
	limit := cmp.Or(req.Limit, 1000)
	from := -1
	if req.Cursor != "" {
		n, err := strconv.Atoi(req.Cursor)
		if err != nil {
			return morningai.EventsPage{}, morningai.ErrInvalidInput
		}
		from = n
	}
	for {
		if err := e.enter(ctx); err != nil {
			return morningai.EventsPage{}, err
		}
		if from > len(e.events) { // from before the data was lost
			e.mu.Unlock()
			return morningai.EventsPage{}, morningai.ErrCursorExpired
		}
		if from < 0 {
			from = len(e.events)
		}
		changed := e.changed
		found := slices.Clone(e.events[from:min(len(e.events), from+limit)])
		e.mu.Unlock()
		left := time.Until(deadline)
		if len(found) > 0 || left <= 0 {
			return morningai.EventsPage{Events: found, Cursor: cursorOf(from + len(found))}, nil
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (e *Reference) SetQueue(ctx context.Context, name string, c morningai.QueueChange) (morningai.QueueConfig, error) {
	if err := c.Validate(name); err != nil {
		return morningai.QueueConfig{}, err
	}
	if err := e.enter(ctx); err != nil {
		return morningai.QueueConfig{}, err
	}
	defer e.mu.Unlock()
	l := e.line(name)
	rate := l.config.Rate
	if l.config = c.Apply(l.config, e.setup.Now()); l.config.Rate != rate {
		l.tokens, l.filled = float64(l.config.Rate.Count), e.setup.Now()
	}
	l.config.Version = max(l.config.Version, 1)
	e.notify()
	return l.config, nil
}

func (e *Reference) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.ExportPage{}, err
	}
	defer e.mu.Unlock()
	if _, err := morningai.ParseID(cursor); err != nil && cursor != "" {
		return morningai.ExportPage{}, err
	}
	ids := slices.SortedFunc(maps.Keys(e.tasks), compareIDs)
	var page morningai.ExportPage
	for _, id := range ids {
		if id.String() <= cursor {
			continue
		}
		if len(page.Records) == limit {
			page.Next = page.Records[limit-1].Task.ID.String()
			break
		}
		page.Records = append(page.Records, cloneRecord(e.tasks[id].Record))
	}
	return page, nil
}

func (e *Reference) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.ImportResult, len(records))
	for i := range records {
		out[i] = e.install(&records[i])
	}
	return out, nil
}

func (e *Reference) install(r *morningai.Record) morningai.ImportResult {
	if err := r.Validate(); err != nil {
		return morningai.ImportResult{Err: err}
	}
	t, status := e.tasks[r.Task.ID], morningai.ImportAdded
	if t != nil {
		order := r.Compare(&t.Record)
		if order <= 0 && r.Task.Version > t.Task.Version && !t.Deleted && !r.Deleted {
			t.Task.Version = r.Task.Version + 1 // a reader may have seen that
		}
		switch {
		case order == 0 && t.Task.State.Terminal() && !t.Deleted && (t.Claim != r.Claim || t.Lease != r.Lease || t.Task.State != r.Task.State):
			return morningai.ImportResult{Status: morningai.ImportRepeated, Task: e.snapshot(t)}
		case order <= 0:
			return morningai.ImportResult{Status: morningai.ImportKept, Task: e.snapshot(t)}
		}
		status = morningai.ImportUpdated
	}
	if t == nil {
		t = &entry{}
		e.tasks[r.Task.ID] = t
	}
	had := t.Record
	t.Record, e.order = cloneRecord(*r), nil
	t.Task.Version = max(t.Task.Version, had.Task.Version+1) // a reader has seen that
	if t.Task.Life > had.Task.Life && t.Task.State != morningai.StateRunning {
		t.Claim = max(t.Claim, had.Claim)
	}
	t.Session, t.grantSeq, t.orphaned = morningai.SessionID{}, 0, time.Time{}
	if t.Task.State == morningai.StateRunning {
		t.orphaned = e.setup.Now()
	}
	e.line(t.Task.Queue)
	e.notify()
	return morningai.ImportResult{Status: status, Task: e.snapshot(t)}
}
