package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// eventsKept is how many events are held for readers that come back.
const eventsKept = 1 << 16

type event struct {
	kind    morningai.EventKind
	id      morningai.ID
	line    *line
	state   morningai.State
	attempt int64
	version int64
	at      int64
}

// eventLog is a ring of the newest events in memory. A cursor is the log's own
// random name and the number of an event, so that one of an earlier run of the
// engine is recognized and not mistaken for a place in this one.
type eventLog struct {
	epoch string

	mu     sync.Mutex
	ring   []event // grows to eventsKept
	next   int64   // number of the next event
	waits  int
	wake   chan struct{} // closed and replaced when events arrive for someone who waits
	closed bool
}

func newEventLog() *eventLog {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &eventLog{epoch: hex.EncodeToString(b[:]), wake: make(chan struct{})}
}

func (l *eventLog) append(events []event) {
	if len(events) == 0 {
		return
	}
	l.mu.Lock()
	for _, ev := range events {
		if len(l.ring) < eventsKept {
			l.ring = append(l.ring, ev)
		} else {
			l.ring[l.next%eventsKept] = ev
		}
		l.next++
	}
	if l.waits > 0 && !l.closed {
		close(l.wake)
		l.wake = make(chan struct{})
	}
	l.mu.Unlock()
}

func (l *eventLog) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.wake)
	}
	l.mu.Unlock()
}

func (l *eventLog) cursor(n int64) string { return l.epoch + "-" + strconv.FormatInt(n, 10) }

// position returns the number of the first event after the cursor.
func (l *eventLog) position(cursor string) (int64, error) {
	if cursor == "" {
		return l.next, nil
	}
	epoch, number, ok := strings.Cut(cursor, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 || len(epoch) != len(l.epoch) {
		return 0, morningai.InvalidInput("events", morningai.FieldError{Location: "cursor", Message: "must be a cursor that an earlier answer gave"})
	}
	if epoch != l.epoch || n > l.next || n < l.next-int64(len(l.ring)) {
		return 0, &morningai.Error{Code: morningai.CodeCursorExpired, Op: "events", Detail: "the events after this cursor are no longer kept",
			Hint: "read the tasks again and start from an empty cursor"}
	}
	return n, nil
}

// Events implements morningai.Engine. The newest 65,536 events of this run of
// the engine are kept.
func (e *Engine) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	if err := e.ready(ctx); err != nil {
		return morningai.EventsPage{}, err
	}
	limit := req.Limit
	if limit <= 0 {
		limit = 1000
	}
	l := e.events
	l.mu.Lock()
	from, err := l.position(req.Cursor)
	if err != nil {
		l.mu.Unlock()
		return morningai.EventsPage{}, err
	}
	if from == l.next && req.Wait > 0 {
		l.waits++
		wake := l.wake
		l.mu.Unlock()
		timer := time.NewTimer(req.Wait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		l.mu.Lock()
		l.waits--
		if err := e.ready(ctx); err != nil {
			l.mu.Unlock()
			return morningai.EventsPage{}, err
		}
		if from < l.next-int64(len(l.ring)) {
			l.mu.Unlock()
			return e.Events(ctx, morningai.EventsRequest{Cursor: l.cursor(from), Limit: limit})
		}
	}
	n := min(int64(limit), l.next-from)
	found := make([]event, 0, n)
	for i := from; i < from+n; i++ {
		found = append(found, l.ring[i%eventsKept])
	}
	l.mu.Unlock()
	page := morningai.EventsPage{Events: make([]morningai.Event, 0, n), Cursor: l.cursor(from + n)}
	for i, ev := range found {
		page.Events = append(page.Events, morningai.Event{Cursor: l.cursor(from + int64(i) + 1), Kind: ev.kind, ID: ev.id, Type: ev.line.typ,
			Queue: ev.line.queue, State: ev.state, Attempt: int(ev.attempt), Version: ev.version, At: timeOf(ev.at)})
	}
	return page, nil
}
