package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
)

func stressChecks() []check {
	return []check{{"the history of many clients at once keeps the invariants", stressAll}}
}

const (
	stressProducers = 3
	stressWorkers   = 4
	stressReaders   = 2
	stressTasks     = 60 // of each producer
)

// stress is one run of many clients against one engine.
type stress struct {
	*rig
	log      recorded
	mu       sync.Mutex
	accepted []morningai.ID
	over     atomic.Bool // every task has ended
	producer atomic.Int32
}

func stressAll(r *rig) {
	s := &stress{rig: r}
	r.together(stressProducers+stressWorkers+stressReaders+2, func(i int) error {
		rnd := rand.New(rand.NewPCG(uint64(i), 42))
		switch {
		case i < stressProducers:
			return s.produce(rnd)
		case i < stressProducers+stressWorkers:
			return s.work(rnd, fmt.Sprint("worker ", i))
		case i < stressProducers+stressWorkers+stressReaders:
			return s.read(rnd, i)
		case i == stressProducers+stressWorkers+stressReaders:
			return s.operate(rnd)
		}
		return s.watch()
	})
	begun := s.log.begin()
	for _, t := range r.getAll(s.ids()...) {
		s.saw(begun, 99, t)
	}
	for _, v := range violations(s.log.ops) {
		r.Errorf("%s", v)
	}
	r.want(len(s.ids()) == stressProducers*stressTasks, "%d tasks were accepted", len(s.ids()))
	r.countsMatch()
}

func (s *stress) ids() []morningai.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]morningai.ID{}, s.accepted...)
}

func (s *stress) any(rnd *rand.Rand) (morningai.ID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.accepted) == 0 {
		return morningai.ID{}, false
	}
	return s.accepted[rnd.IntN(len(s.accepted))], true
}

func (s *stress) saw(begun, reader int, t morningai.Task) {
	s.log.add(begun, op{Kind: opSeen, Reader: reader, ID: t.ID, Life: t.Life, State: t.State, Version: t.Version, Payload: string(t.Payload)})
}

func (s *stress) produce(rnd *rand.Rand) error {
	defer s.producer.Add(1)
	for n := range stressTasks {
		one := spec(n)
		id, err := morningai.NewID()
		if err != nil {
			return err
		}
		one.ID, one.Priority, one.Queue = id, rnd.IntN(10), []string{"a", "b"}[rnd.IntN(2)]
		if rnd.IntN(4) == 0 {
			one.RunAt = time.Now().Add(time.Duration(rnd.IntN(30)) * time.Millisecond)
		}
		for range 1 + rnd.IntN(2) { // some are sent twice
			begun := s.log.begin()
			got, err := s.eng.Enqueue(s.ctx, []morningai.TaskSpec{one})
			if err = errors.Join(err, firstError(got)); err != nil {
				return err
			}
			s.log.add(begun, op{Kind: opEnqueued, ID: id, Payload: string(got[0].Task.Payload)})
		}
		s.mu.Lock()
		s.accepted = append(s.accepted, id)
		s.mu.Unlock()
	}
	return nil
}

func firstError(receipts []morningai.Receipt) error {
	for _, r := range receipts {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// work claims and finishes, and now and then dies and is declared dead.
func (s *stress) work(rnd *rand.Rand, node string) error {
	session := newSession()
	held := map[morningai.ID]morningai.Lease{}
	var through int64
	beat := func() (morningai.BeatReply, error) {
		req := morningai.BeatRequest{Session: session, Node: node, LeaseTime: time.Second, Through: through}
		for _, l := range held {
			req.Holding = append(req.Holding, l)
		}
		return s.eng.Beat(s.ctx, req)
	}
	reply, err := beat()
	if err != nil {
		return err
	}
	for !s.over.Load() {
		ctx, cancel := context.WithCancel(s.ctx)
		if rnd.IntN(10) == 0 {
			cancel() // the reply, if there was one, is lost
		}
		begun := s.log.begin()
		claim, err := s.eng.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1 + rnd.IntN(3), Wait: 10 * time.Millisecond})
		cancel()
		if errors.Is(err, context.Canceled) && s.ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		through = claim.Seq
		for _, g := range claim.Grants {
			held[g.Task.ID] = g.Lease
			s.log.add(begun, op{Kind: opGranted, ID: g.Task.ID, Life: g.Task.Life, Claim: g.Lease.Claim, Payload: string(g.Task.Payload)})
		}
		if rnd.IntN(8) == 0 {
			if reply, err = beat(); err != nil {
				return err
			}
		}
		if len(held) > 0 && rnd.IntN(25) == 0 {
			if session, err = s.die(session, reply.Counter, held); err != nil {
				return err
			}
			held, through = map[morningai.ID]morningai.Lease{}, 0
			if reply, err = beat(); err != nil {
				return err
			}
			continue
		}
		for _, g := range claim.Grants {
			delete(held, g.Task.ID)
			if err := s.finish(rnd, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// die has the session reaped, and returns a new one.
func (s *stress) die(session morningai.SessionID, counter int64, held map[morningai.ID]morningai.Lease) (morningai.SessionID, error) {
	begun := s.log.begin()
	got, err := s.eng.Reap(s.ctx, []morningai.Observation{{Session: session, Counter: counter}})
	if err != nil || len(got) != 1 {
		return session, fmt.Errorf("reap of a session with its own counter: %d reaped (%w)", len(got), err)
	}
	for id, l := range held {
		s.log.add(begun, op{Kind: opLost, ID: id, Claim: l.Claim})
	}
	return newSession(), nil
}

func (s *stress) finish(rnd *rand.Rand, g morningai.Grant) error {
	rep := report(g, morningai.OutcomeSucceeded)
	if rnd.IntN(3) == 0 && g.Task.Attempt < 8 {
		rep = report(g, outcomes[rnd.IntN(len(outcomes))])
		rep.RunAt = time.Now().Add(time.Duration(rnd.IntN(10)) * time.Millisecond)
	}
	for range 1 + rnd.IntN(2) { // some are sent twice
		begun := s.log.begin()
		got, err := s.eng.Finish(s.ctx, []morningai.Report{rep})
		if err != nil {
			return err
		}
		if morningai.CodeOf(got[0].Err) == morningai.CodeStale {
			return nil // a repeat came after the task was claimed again
		}
		if got[0].Err != nil {
			return got[0].Err
		}
		s.log.add(begun, op{Kind: opFinished, ID: rep.Lease.ID, Claim: rep.Lease.Claim, Outcome: rep.Outcome})
	}
	return nil
}

func (s *stress) read(rnd *rand.Rand, reader int) error {
	for !s.over.Load() {
		begun := s.log.begin()
		if rnd.IntN(4) == 0 {
			page, err := s.eng.List(s.ctx, morningai.Filter{Limit: 20})
			if err != nil {
				return err
			}
			for _, t := range page.Tasks {
				s.saw(begun, reader, t)
			}
			continue
		}
		id, ok := s.any(rnd)
		if !ok {
			continue
		}
		got, err := s.eng.Get(s.ctx, morningai.GetRequest{IDs: []morningai.ID{id}})
		if err != nil {
			return err
		}
		if got[0].ID.IsZero() {
			return fmt.Errorf("an accepted task is not found")
		}
		s.saw(begun, reader, got[0])
	}
	return nil
}

// operate cancels and retries tasks while there are producers.
func (s *stress) operate(rnd *rand.Rand) error {
	kinds := []morningai.CommandKind{morningai.CommandCancel, morningai.CommandRetry, morningai.CommandRun}
	for s.producer.Load() < stressProducers {
		id, ok := s.any(rnd)
		if !ok || rnd.IntN(3) > 0 {
			continue
		}
		kind := kinds[rnd.IntN(len(kinds))]
		begun := s.log.begin()
		got, err := s.eng.Command(s.ctx, []morningai.Command{{Kind: kind, ID: id}})
		if err != nil {
			return err
		}
		switch {
		case morningai.CodeOf(got[0].Err) == morningai.CodeWrongState:
		case got[0].Err != nil:
			return got[0].Err
		case kind == morningai.CommandCancel:
			s.log.add(begun, op{Kind: opCanceled, ID: id})
		case kind == morningai.CommandRetry:
			s.log.add(begun, op{Kind: opRetried, ID: id})
		}
	}
	return nil
}

// watch ends the run when every task has ended.
func (s *stress) watch() error {
	cursor := ""
	for {
		done := s.producer.Load() == stressProducers
		stats, err := s.eng.Stats(s.ctx)
		if err != nil {
			s.over.Store(true)
			return err
		}
		open := int64(0)
		for state, n := range stats.States {
			if !state.Terminal() {
				open += n
			}
		}
		if done && open == 0 {
			s.over.Store(true)
			return nil
		}
		page, err := s.eng.Events(s.ctx, morningai.EventsRequest{Cursor: cursor, Wait: 20 * time.Millisecond})
		if err != nil {
			s.over.Store(true)
			return err
		}
		cursor = page.Cursor
	}
}
