package rqbridge

import (
	"errors"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/rq"
)

const (
	lookEvery = 300 * time.Millisecond
	lookBatch = 200
)

// watch looks at all followed jobs at once, again and again.
func (b *Bridge) watch() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			return
		}
		err := b.look()
		if err != nil && !failing && b.ctx.Err() == nil {
			b.log.Warn("jobs in RQ cannot be followed now, trying again", "error", err)
		}
		failing = err != nil
	}
}

func (b *Bridge) look() error {
	b.mu.Lock()
	list := make([]*follow, 0, len(b.follows))
	for _, f := range b.follows {
		list = append(list, f)
	}
	settled := b.settled
	b.settled = nil
	b.mu.Unlock()
	for _, id := range settled {
		if err := b.sender.Settle(b.ctx, id); err != nil {
			break // RQ keeps them for longer, that is all
		}
	}
	if err := b.withdraw(); err != nil {
		return err
	}
	for len(list) > 0 {
		part := list[:min(lookBatch, len(list))]
		list = list[len(part):]
		ids := make([]string, len(part))
		for i, f := range part {
			ids[i] = f.id
		}
		looks, err := b.sender.Look(b.ctx, ids)
		if err != nil {
			return err
		}
		for i, f := range part {
			f.tell(looks[i])
		}
	}
	return nil
}

// withdrawTries bounds how often the worker of one job is told to stop it.
const withdrawTries = 200

// reject notes a job whose task was canceled. One that is followed here has somebody
// who sees to it.
func (b *Bridge) reject(id morningai.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.follows[id.String()] == nil {
		b.unwanted[id] = 0
	}
}

// withdraw takes jobs out of RQ whose tasks were canceled while nobody followed them,
// such as between two servers.
func (b *Bridge) withdraw() error {
	b.mu.Lock()
	var ids []morningai.ID
	for id, tries := range b.unwanted {
		if b.unwanted[id]++; tries%4 == 0 && len(ids) < lookBatch { // a worker needs a moment to obey
			ids = append(ids, id)
		}
	}
	b.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	tasks, err := b.engine.Get(b.ctx, morningai.GetRequest{IDs: ids})
	if err != nil {
		return err
	}
	for i, id := range ids {
		// An operator may have had it begun again.
		done := tasks[i].State != morningai.StateCanceled
		if !done {
			if done, err = b.sender.Withdraw(b.ctx, id.String()); errors.Is(err, morningai.ErrUnavailable) {
				return err // the rest waits too
			}
		}
		b.mu.Lock()
		if done || b.unwanted[id] > withdrawTries {
			delete(b.unwanted, id)
		}
		b.mu.Unlock()
	}
	return nil
}

// follow is one task whose job is in RQ.
type follow struct {
	b       *Bridge
	id      string
	updates chan rq.Look // holds the newest look
}

// tell hands a look to the follower, in place of one that it has not taken yet.
func (f *follow) tell(l rq.Look) {
	for {
		select {
		case f.updates <- l:
			return
		default:
		}
		select {
		case old := <-f.updates:
			l.Begun = l.Begun || old.Begun && l.Status == "" // what was seen last of a job that is gone
		default:
		}
	}
}

// track adds a follower; the returned function removes it.
func (b *Bridge) track(id string) (*follow, func()) {
	f := &follow{b: b, id: id, updates: make(chan rq.Look, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.follows[id] = f
	return f, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.follows[id] == f {
			delete(b.follows, id)
		}
	}
}
