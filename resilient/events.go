package resilient

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// position is a cursor over both engines: one of the shared engine, which is
// valid on every node, and one of this node's journal, which others ignore.
type position struct {
	shared  string // "": not known
	journal string // "": not of this node
}

const cursorMark = "~"

func (p position) String(c *core) string {
	return p.shared + cursorMark + p.journal + cursorMark + c.journalMark()
}

func (c *core) journalMark() string { return hex.EncodeToString(c.cfg.member[:8]) }

func (c *core) parsePosition(cursor string) position {
	parts := strings.Split(cursor, cursorMark)
	if len(parts) != 3 {
		return position{shared: cursor} // of a node without a journal
	}
	p := position{shared: parts[0]}
	if parts[2] == c.journalMark() {
		p.journal = parts[1]
	}
	return p
}

// eventsOp reads events of both engines. It answers without any when contact
// changes, so that its caller asks again and is served from the other side.
type eventsOp struct {
	c     *core
	n     int64 // in the order in which they came
	req   morningai.EventsRequest
	at    position
	until time.Time
	done  func(morningai.EventsPage, error)
	ended bool
	call  int64
}

// ownPace is how often the journal is looked at while the shared engine is
// waited for, as long as the journal owns something.
const ownPace = 100 * time.Millisecond

func (c *core) events(op *eventsOp) {
	c.calls++
	op.n = c.calls
	op.c, op.at, op.until = c, c.parsePosition(op.req.Cursor), c.now.Add(op.req.Wait)
	if op.at.journal != "" {
		op.own()
		return
	}
	op.journal(morningai.EventsRequest{}, func(page morningai.EventsPage, err error) {
		if op.ended {
			return
		}
		op.at.journal = page.Cursor
		switch {
		case err != nil:
			op.finish(morningai.EventsPage{}, err)
		case op.req.Cursor == "":
			op.beginShared()
		default:
			op.own()
		}
	})
}

// beginShared finds out where the shared engine stands now.
func (op *eventsOp) beginShared() {
	c := op.c
	if c.contact.open() {
		op.begun()
		return
	}
	onShared(c, "events", c.cfg.limits.call, func(ctx context.Context) (morningai.EventsPage, error) {
		return c.remote.Events(ctx, morningai.EventsRequest{})
	}, func(page morningai.EventsPage, err error) {
		if err != nil && !outage(err) {
			op.finish(page, err)
			return
		}
		op.at.shared = page.Cursor
		op.begun()
	})
}

// begun goes on from the cursors as they are now.
func (op *eventsOp) begun() {
	if op.left() == 0 || op.at.shared == "" && !op.c.contact.open() {
		op.finish(morningai.EventsPage{Cursor: op.at.String(op.c)}, nil)
		return
	}
	op.own()
}

func (op *eventsOp) journal(req morningai.EventsRequest, then func(morningai.EventsPage, error)) {
	c := op.c
	onJournal(c, "events", func(ctx context.Context) (morningai.EventsPage, error) { return c.journal.Events(ctx, req) }, then)
}

// own looks at the journal, and then waits where something is to be expected.
func (op *eventsOp) own() {
	c := op.c
	op.journal(morningai.EventsRequest{Cursor: op.at.journal, Limit: op.req.Limit}, func(page morningai.EventsPage, err error) {
		switch {
		case op.ended:
		case err != nil || len(page.Events) > 0 || c.closing:
			op.fromJournal(page, err)
		case c.contact.open():
			op.waitOwn()
		case op.at.shared == "":
			// The outage in which it began is over: what happened meanwhile is not known.
			op.finish(morningai.EventsPage{}, &morningai.Error{Code: morningai.CodeCursorExpired, Op: "events",
				Detail: "the events of the time before Redis was back are not known", Hint: "read the tasks again and start from an empty cursor"})
		default:
			op.waitShared()
		}
	})
}

func (op *eventsOp) fromJournal(page morningai.EventsPage, err error) {
	for i := range page.Events {
		page.Events[i].Cursor = position{op.at.shared, page.Events[i].Cursor}.String(op.c)
	}
	page.Cursor = position{op.at.shared, page.Cursor}.String(op.c)
	op.finish(page, err)
}

func (op *eventsOp) left() time.Duration { return max(op.until.Sub(op.c.now), 0) }

func (op *eventsOp) waitOwn() {
	c := op.c
	req := morningai.EventsRequest{Cursor: op.at.journal, Limit: op.req.Limit, Wait: op.left()}
	c.streams[op] = struct{}{}
	op.call = waitJournal(c, "events", func(ctx context.Context) (morningai.EventsPage, error) { return c.journal.Events(ctx, req) },
		func(page morningai.EventsPage, err error) {
			op.call = 0
			if err != nil && !c.contact.open() {
				page, err = morningai.EventsPage{Cursor: req.Cursor}, nil // ended because Redis is back
			}
			op.fromJournal(page, err)
		})
}

func (op *eventsOp) waitShared() {
	c := op.c
	req := morningai.EventsRequest{Cursor: op.at.shared, Limit: op.req.Limit, Wait: op.left()}
	short := c.backlog.owned > 0 || c.backlog.local
	if short {
		req.Wait = min(req.Wait, ownPace)
	}
	c.streams[op] = struct{}{}
	op.call = waitShared(c, "events", func(ctx context.Context) (morningai.EventsPage, error) { return c.remote.Events(ctx, req) },
		func(page morningai.EventsPage, err error) {
			op.call = 0
			switch {
			case op.ended:
				return
			case err != nil && (outage(err) || c.contact.open()):
				page, err = morningai.EventsPage{Cursor: op.at.shared}, nil // the journal goes on
			case err == nil && len(page.Events) == 0 && short && op.left() > 0 && !c.contact.open():
				op.at.shared = page.Cursor
				op.own()
				return
			}
			for i := range page.Events {
				page.Events[i].Cursor = position{page.Events[i].Cursor, op.at.journal}.String(c)
			}
			page.Cursor = position{page.Cursor, op.at.journal}.String(c)
			op.finish(page, err)
		})
}

func (op *eventsOp) abandon() {
	op.ended = true
	delete(op.c.streams, op)
	op.c.end(op.call)
}

func (op *eventsOp) finish(page morningai.EventsPage, err error) {
	if op.ended {
		return
	}
	op.ended = true
	delete(op.c.streams, op)
	if op.c.closing && len(page.Events) == 0 {
		page, err = morningai.EventsPage{}, morningai.ErrClosed
	}
	op.c.reply(func() { op.done(page, err) })
}
