package sim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// worker is what runs tasks on a node: it does what an App does, one event
// after another. It lives as long as the process.
type worker struct {
	h        *host
	random   *rand.Rand
	session  morningai.SessionID
	types    []string
	slots    int
	interval time.Duration
	observer *morningai.Observer

	runs     []*run // claimed and not recorded
	through  int64
	beating  bool
	claiming bool
	joined   bool // the first beat was answered
	tries    int
}

// run is one execution.
type run struct {
	task    morningai.Task
	lease   morningai.Lease
	started time.Time
	cancel  bool // its context was cancelled
	over    bool // the handler has returned, or was told to stop
	report  morningai.Report
	tries   int
}

func sessionKey(id morningai.SessionID) string { return fmt.Sprintf("%x", id[:4]) }

// sessionOfRun is the session of a node's process.
func sessionOfRun(node string, run int64) (id morningai.SessionID) {
	copy(id[:], node)
	binary.BigEndian.PutUint16(id[2:], uint16(run))
	return id
}

func newWorker(h *host) *worker {
	w := &worker{
		h: h, random: h.w.stream(fmt.Sprint("worker", h.name, h.runs)), session: sessionOfRun(h.name, h.runs),
		types: h.w.types(h), slots: h.w.plan.slots, interval: h.w.interval(),
	}
	w.observer = morningai.NewObserver(w.session, w.interval)
	return w
}

func (w *worker) begin() {
	w.beat(func(err error) {
		if err != nil { // as a server that is told to start without a shared engine: it tries again
			w.h.later(200*time.Millisecond, w.begin)
			return
		}
		w.joined = true
		w.claim()
		w.tick()
	})
}

func (w *worker) tick() {
	w.h.later(w.interval, func() {
		if !w.beating {
			w.beat(func(error) {})
		}
		w.tick()
	})
}

// beat makes one beat and acts on what it brings. The looks at other sessions
// are recorded as they are: called when the request was sent.
func (w *worker) beat(then func(error)) {
	req := morningai.BeatRequest{Session: w.session, Node: w.h.name, Types: w.types, Concurrency: w.slots,
		LeaseTime: w.h.w.plan.lease, Through: w.through}
	for _, r := range w.runs {
		req.Holding = append(req.Holding, r.lease)
	}
	w.beating = true
	given := false // up, or answered
	end := func(err error) {
		if !given {
			given, w.beating = true, false
			then(err)
		}
	}
	sent := w.h.w.now
	looks := w.h.w.looks(w)
	w.h.later(w.h.w.plan.lease, func() { end(errors.New("it took longer than the lease")) })
	w.h.event(func() {
		w.h.node.Beat(req, func(reply morningai.BeatReply, err error) {
			if given {
				return
			}
			if err != nil {
				w.h.w.trace(w.h.name, "beat failed: %v", err)
				end(err)
				return
			}
			for _, s := range reply.Sessions {
				if look, ok := looks[s.ID]; ok {
					look.Return(func(op *drill.Op) { op.Version = s.Counter })
				}
			}
			w.told(reply.Cancels)
			for _, r := range w.runs {
				if slices.Contains(reply.Lost, r.lease) && !r.over {
					w.h.w.trace(w.h.name, "drops %v claim %d, which was superseded", r.task.ID, r.lease.Claim)
					r.over = true
				}
			}
			w.runs = slices.DeleteFunc(w.runs, func(r *run) bool { return slices.Contains(reply.Lost, r.lease) && r.report.Outcome == "" })
			w.claim() // there may be a place more
			dead := w.observer.Observe(start.Add(sent), start.Add(w.h.w.now), reply.Sessions)
			if len(dead) > 0 {
				w.h.event(func() { w.h.node.Reap(dead, func([]morningai.SessionID, error) {}) })
			}
			end(nil)
		})
	})
}

// told cancels the contexts of handlers.
func (w *worker) told(ids []morningai.ID) {
	for _, r := range w.runs {
		if slices.Contains(ids, r.task.ID) && !r.cancel && !r.over {
			r.cancel = true
			w.h.w.trace(w.h.name, "cancels the handler of %v", r.task.ID)
			w.h.later(between(w.random, time.Millisecond, 30*time.Millisecond), func() { w.returned(r) })
		}
	}
}

func (w *worker) claim() {
	busy := 0
	for _, r := range w.runs {
		if !r.over {
			busy++
		}
	}
	free := min(w.slots-busy, w.slots+8-len(w.runs))
	if w.claiming || free <= 0 || !w.joined {
		return
	}
	w.claiming = true
	req := morningai.ClaimRequest{Session: w.session, Types: w.types, N: free, Wait: 5 * time.Second}
	w.h.event(func() { w.h.node.Claim(req, w.claimed) })
}

func (w *worker) claimed(reply morningai.ClaimReply, err error) {
	w.through = max(w.through, reply.Seq)
	for i := range reply.Grants {
		w.start(&reply.Grants[i])
	}
	w.told(reply.Cancels)
	again := func() { w.claiming = false; w.claim() }
	switch {
	case err == nil:
		w.tries = 0
		w.h.later(0, again)
	case errors.Is(err, morningai.ErrNotFound):
		w.beat(func(err error) {
			if err != nil {
				w.pause(again)
				return
			}
			again()
		})
	default:
		w.h.w.trace(w.h.name, "claim failed: %v", err)
		w.pause(again)
	}
}

func (w *worker) pause(then func()) {
	w.h.later(min(10*time.Millisecond<<min(w.tries, 10), time.Second), then)
	w.tries++
}

// start runs a handler.
func (w *worker) start(g *morningai.Grant) {
	r := &run{task: g.Task, lease: g.Lease, started: w.h.now()}
	w.runs = append(w.runs, r)
	w.h.w.hist.Add(drill.Op{Node: w.h.name, Kind: drill.Start, Task: g.Task.ID, Life: g.Task.Life, Claim: g.Lease.Claim, Lease: g.Lease.Lease,
		Attempt: int64(g.Task.Attempt), Payload: drill.DigestOf(g.Task.Payload)})
	w.h.w.trace(w.h.name, "starts %v claim %d attempt %d", g.Task.ID, g.Lease.Claim, g.Task.Attempt)
	takes := between(w.random, time.Millisecond, 600*time.Millisecond)
	if chance(w.random, 0.08) {
		takes = between(w.random, time.Second, 15*time.Second)
	}
	if chance(w.random, 0.3) {
		w.h.later(time.Duration(w.random.Float64()*float64(takes)), func() { w.checkpoint(r, 0) })
	}
	w.h.later(takes, func() { w.returned(r) })
}

func (w *worker) checkpoint(r *run, tries int) {
	if r.over {
		return
	}
	point := morningai.Checkpoint{Lease: r.lease}
	switch w.random.IntN(3) {
	case 0:
		point.Kind, point.Name, point.Data = morningai.CheckpointStep, "step", json.RawMessage(fmt.Sprint(r.lease.Claim))
	case 1:
		point.Kind, point.Data = morningai.CheckpointProgress, json.RawMessage(`50`)
	default:
		point.Kind, point.Line = morningai.CheckpointLog, morningai.LogLine{Attempt: r.task.Attempt, At: w.h.now(), Level: "info", Message: "half way"}
	}
	w.h.event(func() {
		w.h.node.Checkpoint([]morningai.Checkpoint{point}, func(errs []error, err error) {
			if err != nil && tries < 5 {
				w.h.later(100*time.Millisecond<<tries, func() { w.checkpoint(r, tries+1) })
			}
		})
	})
}

// returned is a handler's return.
func (w *worker) returned(r *run) {
	if r.over {
		return
	}
	r.over = true
	r.report = morningai.Report{Lease: r.lease, Node: w.h.name, Attempt: r.task.Attempt, StartedAt: r.started, FinishedAt: w.h.now(), Outcome: morningai.OutcomeSucceeded}
	switch draw := w.random.Float64(); {
	case r.cancel:
		r.report.Outcome = morningai.OutcomeCanceled
		r.report.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	case draw < 0.7:
		r.report.Result = json.RawMessage(fmt.Sprintf(`{"claim":%d}`, r.lease.Claim))
	case draw < 0.88 && r.task.Failures+1 < r.task.MaxAttempts:
		r.report.Outcome, r.report.RunAt = morningai.OutcomeRetry, w.h.now().Add(between(w.random, 0, 4*time.Second))
		r.report.Error = &morningai.TaskError{Code: morningai.ErrorCodeHandler, Message: "once more"}
	case draw < 0.92:
		r.report.Outcome = morningai.OutcomeFailed
		r.report.Error = &morningai.TaskError{Code: morningai.ErrorCodeHandler, Message: "for good"}
	case draw < 0.96:
		r.report.Outcome, r.report.RunAt = morningai.OutcomeSnoozed, w.h.now().Add(between(w.random, 0, 2*time.Second))
	case draw < 0.98:
		r.report.Outcome = morningai.OutcomeReleased
	}
	w.h.w.hist.Add(drill.Op{Node: w.h.name, Kind: drill.End, Task: r.task.ID, Life: r.task.Life, Claim: r.lease.Claim, Lease: r.lease.Lease,
		Attempt: int64(r.task.Attempt), Ended: r.report.Outcome})
	w.h.w.trace(w.h.name, "handler of %v claim %d returns: %s", r.task.ID, r.lease.Claim, r.report.Outcome)
	w.record(r)
	w.claim()
	if w.h.open {
		w.h.w.clients.watch(w.h, r.task.ID)
	}
}

// record repeats an outcome until it is recorded or refused.
func (w *worker) record(r *run) {
	w.h.event(func() {
		w.h.node.Finish([]morningai.Report{r.report}, func(verdicts []morningai.Verdict, err error) {
			if err == nil {
				err = verdicts[0].Err
			}
			if decided(err) {
				if err != nil {
					w.h.w.trace(w.h.name, "the outcome of %v claim %d is refused: %v", r.task.ID, r.lease.Claim, err)
				}
				w.runs = slices.DeleteFunc(w.runs, func(o *run) bool { return o == r })
				w.claim()
				return
			}
			delay := min(20*time.Millisecond<<min(r.tries, 8), time.Second)
			r.tries++
			w.h.later(delay, func() { w.record(r) })
		})
	})
}

// decided reports that repeating an outcome makes no difference.
func decided(err error) bool {
	if err == nil {
		return true
	}
	switch morningai.CodeOf(err) {
	case morningai.CodeStale, morningai.CodeNotFound, morningai.CodeInvalidInput, morningai.CodeTooLarge:
		return true
	}
	return false
}
