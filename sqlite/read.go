package sqlite

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/RC918/morningai"
)

// Get implements morningai.Engine.
func (e *Engine) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	out := make([]morningai.Task, len(req.IDs))
	err := e.read(ctx, "get", func(r *reader) error {
		now := e.now()
		us := now.UnixMicro()
		for i, id := range req.IDs {
			found, run, err := e.lookUp(r, id)
			if err != nil {
				return err
			}
			if found != nil && (found.shown(us) || req.Lingering && found.lingers(us)) {
				out[i] = e.view(found, run, now)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// lookUp reads a task. Memory is asked before the table: a task that ends in
// between shows its end then, and versions never fall for a reader.
func (e *Engine) lookUp(r *reader, id morningai.ID) (*row, *runState, error) {
	var run *runState
	e.mu.Lock()
	if en := e.byID[id]; en != nil {
		c := en.run
		run = &c
	}
	e.mu.Unlock()
	found, err := e.rowByID(r.byID, id)
	for err == nil && run == nil && found.mayRun() {
		if run = e.runOf(found.seq); run != nil {
			break
		}
		last := found.version
		if found, err = e.rowByID(r.byID, id); found != nil && found.version == last {
			break
		}
	}
	return found, run, err
}

// mayRun reports whether the row may be one that was written while its task ran:
// it looks like that of a queued task, and only memory tells them apart. If
// memory was asked before the row was read, the task may have been claimed and
// written in between, and memory has to be asked again.
func (r *row) mayRun() bool { return r != nil && r.status == stQueued && r.version > 1 }

// History implements morningai.Engine.
func (e *Engine) History(ctx context.Context, id morningai.ID) (morningai.History, error) {
	var h morningai.History
	err := e.read(ctx, "history", func(r *reader) error {
		found, run, err := e.lookUp(r, id)
		if err != nil {
			return err
		}
		if us := e.now().UnixMicro(); found == nil || !found.shown(us) && !found.lingers(us) {
			return notFound("history")
		}
		h, err = e.history(r, found, run)
		return err
	})
	return h, err
}

func (e *Engine) history(r *reader, found *row, run *runState) (h morningai.History, err error) {
	if found.flags&flagAttempts != 0 {
		if h.Attempts, err = readAttempts(r, found.seq); err != nil {
			return h, err
		}
	}
	if found.flags&flagLast != 0 {
		h.Attempts = append(h.Attempts, lastAttempt(found))
	}
	if run != nil && found.claim < run.claim {
		h.Attempts = append(h.Attempts, morningai.Attempt{Number: int(run.attempt), Life: found.life, Node: run.node, StartedAt: timeOf(run.started)})
	}
	if found.flags&flagLogs != 0 {
		h.Logs, err = readLogs(r, found.seq)
	}
	return h, err
}

func readAttempts(r *reader, seq int64) ([]morningai.Attempt, error) {
	s := r.attempts
	s.int(1, seq)
	var out []morningai.Attempt
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return out, err
		}
		earlier := row{err: s.colText(6)}
		out = append(out, morningai.Attempt{Number: int(s.colInt(0)), Life: s.colInt(1), Node: s.colText(2), StartedAt: timeOf(s.colInt(3)),
			FinishedAt: timeOf(s.colInt(4)), Outcome: outcomes[s.colInt(5)], Error: earlier.taskError(), Stack: s.colText(7)})
	}
}

func readLogs(r *reader, seq int64) ([]morningai.LogLine, error) {
	s := r.logs
	s.int(1, seq)
	var out []morningai.LogLine
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return out, err
		}
		out = append(out, morningai.LogLine{Attempt: int(s.colInt(0)), At: timeOf(s.colInt(1)), Level: s.colText(2), Message: s.colText(3), Attrs: s.colBlob(4)})
	}
}

// scanLimit bounds how many records one page of a filtered list looks at.
const scanLimit = 10_000

// List implements morningai.Engine.
func (e *Engine) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	page := morningai.Page{Tasks: []morningai.Task{}, Fresh: morningai.FreshLive, AsOf: e.now()}
	l := lister{e: e, f: f, before: math.MaxInt64, limit: f.Limit, us: page.AsOf.UnixMicro(), now: page.AsOf}
	if err := l.check(); err != nil {
		return page, err
	}
	err := e.read(ctx, "list", func(r *reader) error {
		l.r = r
		l.remember()
		return l.collect()
	})
	if err != nil {
		return page, err
	}
	page.Tasks = append(page.Tasks, l.tasks...)
	if l.more {
		page.Next = strconv.FormatInt(l.before, 10)
	}
	return page, nil
}

// lister gathers one page. before is the sequence number that the next look
// stays below, and the cursor.
type lister struct {
	e       *Engine
	r       *reader
	f       morningai.Filter
	before  int64
	limit   int
	us      int64
	now     time.Time
	running map[int64]runState
	tasks   []morningai.Task
	more    bool
}

func (l *lister) check() error {
	var bad []morningai.FieldError
	if l.limit == 0 {
		l.limit = 50
	}
	if l.limit < 1 || l.limit > 1000 {
		bad = append(bad, morningai.FieldError{Location: "limit", Message: "must be 1 to 1000"})
	}
	if l.f.State != "" && l.f.State != morningai.StateRetrying && !l.f.State.Valid() {
		bad = append(bad, morningai.FieldError{Location: "state", Message: "must be a state"})
	}
	if l.f.Cursor != "" {
		n, err := strconv.ParseInt(l.f.Cursor, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != l.f.Cursor {
			bad = append(bad, morningai.FieldError{Location: "cursor", Message: "must be the cursor of an earlier page"})
		}
		l.before = n
	}
	if len(bad) > 0 {
		return morningai.InvalidInput("list", bad...)
	}
	return nil
}

// remember copies what runs, before any row is read.
func (l *lister) remember() {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.running = make(map[int64]runState, len(l.e.running))
	for seq, en := range l.e.running {
		l.running[seq] = en.run
	}
}

func (l *lister) collect() error {
	switch {
	case l.f.State == morningai.StateRunning:
		return l.bySeqs(l.runningSeqs(), false)
	case !l.f.TraceID.IsZero() || l.f.State == "" && l.f.Queue == "" && l.f.Type == "":
		return l.scan()
	}
	for !l.full() {
		seqs, err := l.indexed()
		if err != nil {
			return err
		}
		last := len(seqs) < l.limit+1
		if err := l.bySeqs(seqs, !last); err != nil || last {
			return err
		}
	}
	return nil
}

func (l *lister) full() bool { return len(l.tasks) >= l.limit }

// scan goes through the table, newest first.
func (l *lister) scan() error {
	s := l.r.allDesc
	s.int(1, l.before)
	s.int(2, scanLimit+1)
	for n := 0; ; n++ {
		ok, err := s.step()
		if err != nil || !ok {
			l.more = false
			return err
		}
		if l.full() || n == scanLimit {
			l.more = true
			s.reset()
			return nil
		}
		r, err := l.e.scanRow(s)
		if err != nil {
			s.reset()
			return err
		}
		l.add(r)
	}
}

// add takes a row into the page if it matches.
func (l *lister) add(r *row) {
	l.before = r.seq
	if !r.shown(l.us) {
		return
	}
	var run *runState
	if c, ok := l.running[r.seq]; ok {
		run = &c
	} else if r.mayRun() {
		run = l.e.runOf(r.seq)
	}
	task := l.e.view(r, run, l.now)
	switch f := &l.f; {
	case f.Queue != "" && task.Queue != f.Queue, f.Type != "" && task.Type != f.Type, !f.TraceID.IsZero() && task.TraceID != f.TraceID:
		return
	case f.State == morningai.StateRetrying:
		if r.status != stRetrying {
			return
		}
	case f.State != "" && task.State != f.State:
		return
	}
	l.tasks = append(l.tasks, task)
}

// bySeqs reads rows by number, newest first.
func (l *lister) bySeqs(seqs []int64, more bool) error {
	for i, seq := range seqs {
		if l.full() {
			l.more = true
			return nil
		}
		r, err := l.e.rowBySeq(l.r.bySeq, seq)
		if err != nil {
			return err
		}
		l.before = seq
		if r != nil {
			l.add(r)
		}
		l.more = more || i < len(seqs)-1
	}
	return nil
}

func (l *lister) runningSeqs() []int64 {
	var seqs []int64
	for seq := range l.running {
		if seq < l.before {
			seqs = append(seqs, seq)
		}
	}
	slices.SortFunc(seqs, func(a, b int64) int { return cmp.Compare(b, a) })
	return seqs
}

// indexed merges the newest tasks of all lines, states and priorities that the
// filter selects, at most one more than a page.
func (l *lister) indexed() ([]int64, error) {
	l.e.mu.Lock()
	var keys []countKey
	for key, n := range l.e.counts {
		if n > 0 && l.selects(key) {
			keys = append(keys, key)
		}
	}
	l.e.mu.Unlock()
	var seqs []int64
	for _, key := range keys {
		s := l.r.runDesc
		s.int(1, slotOf(key.line.id, key.status, key.prio))
		s.int(2, l.before)
		s.int(3, int64(l.limit+1))
		found, err := numbers(s)
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, found...)
	}
	slices.SortFunc(seqs, func(a, b int64) int { return cmp.Compare(b, a) })
	seqs = slices.Compact(seqs)
	return seqs[:min(len(seqs), l.limit+1)], nil
}

func (l *lister) selects(key countKey) bool {
	f := &l.f
	if f.Queue != "" && key.line.queue != f.Queue || f.Type != "" && key.line.typ != f.Type {
		return false
	}
	switch f.State {
	case "":
		return true
	case morningai.StateRetrying:
		return key.status == stRetrying
	}
	return key.status.state() == f.State
}
