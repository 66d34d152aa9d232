package redis

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/RC918/morningai"
)

// keep is how long an ended task stays readable unless it says otherwise.
func (e *Engine) keep(s *stored) time.Duration {
	if stateNames[s.state] == morningai.StateSucceeded {
		return e.opt.succeeded
	}
	return e.opt.ended
}

// fetch reads records by id; missing ones are absent from the answer.
func (e *Engine) fetch(ctx context.Context, ids []morningai.ID, all bool) (map[morningai.ID]*stored, error) {
	byPart := make(map[*partition][]string)
	for _, id := range ids {
		p := e.of(id)
		byPart[p] = append(byPart[p], string(id[:]))
	}
	level := "0"
	if all {
		level = "1"
	}
	out := make(map[morningai.ID]*stored, len(ids))
	for p, list := range byPart {
		if err := p.refuse("get"); err != nil {
			return nil, err
		}
		size := portion{now: batchTasks, least: 1}
		for len(list) > 0 {
			n := min(len(list), size.now)
			call, cancel := e.bounded(ctx)
			reply, err := p.read(call, scriptGet, append([]string{level}, list[:n]...)...)
			cancel()
			if err != nil {
				again, err := size.shrink(err, p)
				if again {
					continue
				}
				return nil, err
			}
			found, err := readStored(reply[1], reply[2], reply[3])
			if err != nil {
				return nil, err
			}
			for _, s := range found {
				out[s.id] = s
			}
			if len(found) < n { // what is not there may be lost
				if err := p.look(ctx); err != nil {
					return nil, err
				}
			}
			list = list[n:]
		}
	}
	return out, nil
}

// Get reads tasks by id; see [morningai.Engine].
func (e *Engine) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	found, err := e.fetch(ctx, req.IDs, false)
	if err != nil {
		return nil, e.failed(ctx, "get", err)
	}
	now := time.Now().UTC()
	out := make([]morningai.Task, len(req.IDs))
	for i, id := range req.IDs {
		s := found[id]
		if s == nil || !s.visible(now, e.keep(s), req.Lingering) {
			continue
		}
		if out[i], err = s.task(now); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// History reads attempts and log lines; see [morningai.Engine].
func (e *Engine) History(ctx context.Context, id morningai.ID) (morningai.History, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.History{}, err
	}
	defer e.active.Done()
	found, err := e.fetch(ctx, []morningai.ID{id}, true)
	if err != nil {
		return morningai.History{}, e.failed(ctx, "history", err)
	}
	s := found[id]
	if s == nil || !s.visible(time.Now(), e.keep(s), true) {
		return morningai.History{}, &morningai.Error{Code: morningai.CodeNotFound, Op: "history", Detail: "there is no such task"}
	}
	var h morningai.History
	if h.Attempts, err = s.attempts(); err != nil {
		return h, err
	}
	h.Logs, err = s.lines()
	return h, err
}

// A list's cursor holds, for each partition, the number to go on before.
func packCursor(at []int64) string {
	var b []byte
	for _, n := range at {
		b = binary.AppendVarint(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func readCursor(text string, n int) ([]int64, error) {
	bad := morningai.InvalidInput("read cursor", morningai.FieldError{Location: "cursor", Message: "must be one that an earlier answer carried"})
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, bad
	}
	out := make([]int64, n)
	for i := range out {
		v, used := binary.Varint(b)
		if used <= 0 {
			return nil, bad
		}
		out[i], b = v, b[used:]
	}
	if len(b) > 0 {
		return nil, bad
	}
	return out, nil
}

const (
	listBudget = 10_000  // records that one page looks at for a trace id
	listPiece  = 2_000   // records that one call looks at: other calls wait meanwhile
	listBytes  = 2 << 20 // of one answer of the script
	leastBytes = 1 << 10 // where answers are too large for the server's limits
)

// List returns a page of tasks; see [morningai.Engine].
func (e *Engine) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.Page{}, err
	}
	defer e.active.Done()
	limit := f.Limit
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > 1000 {
		return morningai.Page{}, morningai.InvalidInput("list", morningai.FieldError{Location: "limit", Message: "must be 1 to 1000"})
	}
	if f.State != "" && stateCodes[f.State] == 0 {
		return morningai.Page{}, morningai.InvalidInput("list", morningai.FieldError{Location: "state", Message: "must be a state of a task"})
	}
	from := make([]int64, len(e.parts))
	for i := range from {
		from[i] = -1
	}
	if f.Cursor != "" {
		var err error
		if from, err = readCursor(f.Cursor, len(e.parts)); err != nil {
			return morningai.Page{}, err
		}
	}
	page := morningai.Page{Fresh: morningai.FreshLive, AsOf: time.Now().UTC()}
	m := &merge{limit: limit, budget: listBudget / len(e.parts)}
	for i, p := range e.parts {
		m.lines = append(m.lines, &line{part: p, before: from[i], end: from[i] == 0, away: p.gone() != nil, bytes: portion{listBytes, leastBytes}})
	}
	for len(page.Tasks) < limit {
		s, err := m.next(ctx, &f)
		if err != nil {
			return morningai.Page{}, e.failed(ctx, "list", err)
		}
		if s == nil {
			break
		}
		t, err := s.task(page.AsOf)
		if err != nil {
			return morningai.Page{}, err
		}
		page.Tasks = append(page.Tasks, t)
	}
	more, err := m.more(ctx, &f)
	if err != nil {
		return morningai.Page{}, e.failed(ctx, "list", err)
	}
	if more {
		page.Next = packCursor(m.cursor())
	}
	return page, nil
}

// merge joins the lists of the partitions by the time of acceptance.
type merge struct {
	lines  []*line
	limit  int
	budget int
}

// line is one partition's part of a list.
type line struct {
	part   *partition
	buf    []*stored
	before int64 // where the script goes on
	end    bool
	looked int // records, in calls that ended because they had looked at enough
	bytes  portion
	spent  bool // the budget of this page is used up
	away   bool // a later page may show it
}

func (l *line) fill(ctx context.Context, f *morningai.Filter, limit, budget int) error {
	for len(l.buf) == 0 && !l.end && !l.spent && !l.away {
		trace, piece := "", listPiece
		if !f.TraceID.IsZero() {
			trace, piece = string(f.TraceID[:]), min(piece, budget-l.looked)
		}
		call, cancel := l.part.eng.bounded(ctx)
		reply, err := l.part.read(call, scriptList, strconv.Itoa(int(stateCodes[f.State])), f.Queue, f.Type, trace,
			strconv.Itoa(limit), strconv.FormatInt(l.before, 10), strconv.Itoa(piece), strconv.Itoa(l.bytes.now))
		cancel()
		if err != nil {
			again, err := l.bytes.shrink(err, l.part)
			if again {
				continue
			}
			return err
		}
		if err := l.part.look(ctx); err != nil {
			return err
		}
		status, err := reply[0].ToString()
		if err != nil || status == "" {
			return errCorrupt
		}
		if l.buf, err = readStored(reply[1], reply[2], reply[3]); err != nil {
			return err
		}
		l.before, err = strconv.ParseInt(status[1:], 10, 64)
		if err != nil {
			return errCorrupt
		}
		l.end = status[0] == 'e'
		if status[0] == 'b' && trace != "" {
			l.looked += piece
			l.spent = l.looked >= budget
		}
	}
	return nil
}

// next hands out the newest task left, or nil at the end.
func (m *merge) next(ctx context.Context, f *morningai.Filter) (*stored, error) {
	var best *line
	for _, l := range m.lines {
		if err := l.fill(ctx, f, m.limit, m.budget); err != nil {
			return nil, err
		}
		if len(l.buf) > 0 && (best == nil || l.buf[0].created > best.buf[0].created) {
			best = l
		}
	}
	if best == nil {
		return nil, nil
	}
	s := best.buf[0]
	best.buf = best.buf[1:]
	return s, nil
}

// more reports whether a next page has anything to look at.
func (m *merge) more(ctx context.Context, f *morningai.Filter) (bool, error) {
	more := false
	for _, l := range m.lines {
		if err := l.fill(ctx, f, 1, m.budget); err != nil {
			return false, err
		}
		more = more || len(l.buf) > 0 || l.spent
	}
	return more, nil
}

func (m *merge) cursor() []int64 {
	out := make([]int64, len(m.lines))
	for i, l := range m.lines {
		switch {
		case len(l.buf) > 0:
			out[i] = int64(l.buf[0].seq) + 1
		case l.end:
			out[i] = 0
		default:
			out[i] = l.before
		}
	}
	return out
}
