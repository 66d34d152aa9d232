package redis

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

var eventKinds = []morningai.EventKind{"",
	morningai.EventQueued, morningai.EventScheduled, morningai.EventStarted, morningai.EventProgress, morningai.EventLog,
	morningai.EventRetrying, morningai.EventSucceeded, morningai.EventFailed, morningai.EventCanceled, morningai.EventDeleted,
}

const eventEntries = 64 // entries of one read

// position is where a reader stands in one partition's stream: everything up
// to the entry, and so many events of the next.
type position struct {
	entry int64
	skip  int64
}

func packPositions(at []position) string {
	flat := make([]int64, 0, 2*len(at))
	for _, p := range at {
		flat = append(flat, p.entry, p.skip)
	}
	return packCursor(flat)
}

// Events returns what happened after a cursor; see [morningai.Engine].
func (e *Engine) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.EventsPage{}, err
	}
	defer e.active.Done()
	limit := req.Limit
	if limit <= 0 {
		limit = 1000
	}
	at := make([]position, len(e.parts))
	if req.Cursor != "" {
		flat, err := readCursor(req.Cursor, 2*len(e.parts))
		if err != nil {
			return morningai.EventsPage{}, err
		}
		for i := range at {
			at[i] = position{flat[2*i], flat[2*i+1]}
		}
	} else {
		for i, p := range e.parts {
			var err error
			if at[i].entry, err = p.lastEvent(ctx); err != nil {
				return morningai.EventsPage{}, e.failed(ctx, "events", err)
			}
		}
	}
	deadline := time.Now().Add(req.Wait)
	for {
		var page morningai.EventsPage
		for i, p := range e.parts {
			if err := p.events(ctx, at, i, limit, &page.Events); err != nil {
				return morningai.EventsPage{}, e.failed(ctx, "events", err)
			}
		}
		left := time.Until(deadline)
		if len(page.Events) > 0 || left <= 0 {
			page.Cursor = packPositions(at)
			return page, nil
		}
		if err := e.waitEvents(ctx, at, left); err != nil {
			return morningai.EventsPage{}, err
		}
	}
}

func (p *partition) lastEvent(ctx context.Context) (int64, error) {
	call, cancel := p.eng.bounded(ctx)
	defer cancel()
	reply, err := p.read(call, scriptEvents, "", "0")
	if err != nil {
		return 0, err
	}
	return reply[0].AsInt64()
}

// events appends what one partition has after its position, and moves it.
func (p *partition) events(ctx context.Context, at []position, n, limit int, out *[]morningai.Event) error {
	for len(*out) < limit {
		call, cancel := p.eng.bounded(ctx)
		reply, err := p.read(call, scriptEvents, strconv.FormatInt(at[n].entry, 10), strconv.Itoa(eventEntries))
		cancel()
		if err != nil {
			return err
		}
		if status, _ := reply[0].ToString(); status == "x" {
			return &morningai.Error{Code: morningai.CodeCursorExpired, Op: "events", Detail: "events after the cursor are no longer kept",
				Hint: "read the tasks again and follow from now"}
		}
		names, err := readNames(reply[1])
		if err != nil {
			return err
		}
		entries, err := reply[2].AsStrSlice()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		for i := 0; i+1 < len(entries); i += 2 {
			entry, err := strconv.ParseInt(entries[i], 10, 64)
			if err != nil {
				return errCorrupt
			}
			list, err := readEvents(entries[i+1], names)
			if err != nil {
				return err
			}
			for k := at[n].skip; int(k) < len(list); k++ {
				if len(*out) == limit {
					return nil
				}
				at[n].skip = k + 1
				if int(k+1) == len(list) {
					at[n] = position{entry, 0}
				}
				list[k].Cursor = packPositions(at)
				*out = append(*out, list[k])
			}
			at[n] = position{entry, 0}
		}
	}
	return nil
}

// readEvents reads one entry of the stream; see lua/base.lua.
func readEvents(s string, names map[string]string) ([]morningai.Event, error) {
	if len(s) < 8 {
		return nil, errCorrupt
	}
	when := fromNanos(be64(s))
	var out []morningai.Event
	for s = s[8:]; len(s) > 0; {
		if len(s) < 18 {
			return nil, errCorrupt
		}
		ev := morningai.Event{Type: names["T"+itoa(u24(s[1:]))], Queue: names["Q"+itoa(u24(s[4:]))], State: stateNames[s[7]],
			Attempt: int(binary.BigEndian.Uint32([]byte(s[8:12]))), Version: int64(binary.BigEndian.Uint32([]byte(s[12:16]))), At: when}
		if int(s[0]) < len(eventKinds) {
			ev.Kind = eventKinds[s[0]]
		}
		n := int(binary.BigEndian.Uint16([]byte(s[16:18])))
		if s = s[18:]; len(s) < 16*n {
			return nil, errCorrupt
		}
		for range n {
			ev.ID = morningai.ID([]byte(s[:16]))
			out = append(out, ev)
			s = s[16:]
		}
	}
	return out, nil
}

// waitEvents returns when one of the streams has grown, or after d.
func (e *Engine) waitEvents(ctx context.Context, at []position, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	release := context.AfterFunc(e.ctx, cancel)
	defer release()
	grown := make(chan struct{}, len(e.parts))
	positions := slices.Clone(at)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i, p := range e.parts {
		all.Go(func() {
			for wait.Err() == nil {
				if p.grows(wait, positions[i].entry) {
					grown <- struct{}{}
					return
				}
			}
		})
	}
	select {
	case <-grown:
		return nil
	case <-wait.Done():
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e.ctx.Err() != nil:
		return morningai.ErrClosed
	}
	return nil
}

// grows blocks until the stream has an entry after the one given.
func (p *partition) grows(ctx context.Context, entry int64) bool {
	e := p.eng
	block := e.opt.blockFor
	if deadline, ok := ctx.Deadline(); ok {
		block = min(block, max(time.Millisecond, time.Until(deadline)))
	}
	call, cancel := context.WithTimeout(ctx, block+e.opt.timeout)
	defer cancel()
	id := strconv.FormatInt(entry, 10) + "-9"
	result, err := e.do(call, e.client.B().Xread().Count(1).Block(block.Milliseconds()).Streams().Key(p.base+"events").Id(id).Build())
	if err != nil {
		timer := time.NewTimer(e.opt.pauseOnFailure)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return false
	}
	_, err = result.AsXRead()
	return err == nil
}
