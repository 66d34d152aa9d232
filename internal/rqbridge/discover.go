package rqbridge

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

const (
	eventsWait = 5 * time.Second
	againLeast = time.Second
	againMost  = 15 * time.Second
	scanPage   = 1000
)

// discover finds out which types of tasks wait in the bridge's queues, whichever
// server has accepted them.
func (b *Bridge) discover() {
	wait := againLeast
	for b.ctx.Err() == nil {
		began := time.Now()
		err := b.followEvents()
		if b.ctx.Err() != nil {
			return
		}
		if time.Since(began) > againMost || errors.Is(err, morningai.ErrCursorExpired) {
			wait = againLeast
		}
		pause(b.ctx, wait)
		wait = min(2*wait, againMost)
	}
}

// followEvents looks at what waits now, and then at each task that comes.
func (b *Bridge) followEvents() error {
	page, err := b.engine.Events(b.ctx, morningai.EventsRequest{})
	if err != nil {
		return err
	}
	if err := errors.Join(b.scan(), b.rejectCanceled()); err != nil {
		return err
	}
	for {
		page, err = b.engine.Events(b.ctx, morningai.EventsRequest{Cursor: page.Cursor, Wait: eventsWait})
		if err != nil {
			return err
		}
		for i := range page.Events {
			e := &page.Events[i]
			b.see(e.Type, e.Queue)
			if e.Kind == morningai.EventCanceled && strings.HasPrefix(e.Type, Prefix) && b.queues[e.Queue] {
				b.reject(e.ID)
			}
		}
	}
}

func (b *Bridge) scan() error {
	for q := range b.queues {
		for _, state := range []morningai.State{morningai.StateQueued, morningai.StateScheduled, morningai.StateRunning} {
			filter := morningai.Filter{Queue: q, State: state, Limit: scanPage}
			for {
				page, err := b.engine.List(b.ctx, filter)
				if err != nil {
					return err
				}
				for i := range page.Tasks {
					b.see(page.Tasks[i].Type, q)
				}
				if filter.Cursor = page.Next; page.Next == "" {
					break
				}
			}
		}
	}
	return nil
}

// rejectCanceled looks at the tasks that were canceled last, maybe while no bridge was
// there to see it.
func (b *Bridge) rejectCanceled() error {
	for q := range b.queues {
		page, err := b.engine.List(b.ctx, morningai.Filter{Queue: q, State: morningai.StateCanceled, Limit: scanPage})
		if err != nil {
			return err
		}
		for i := range page.Tasks {
			if strings.HasPrefix(page.Tasks[i].Type, Prefix) {
				b.reject(page.Tasks[i].ID)
			}
		}
	}
	return nil
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
