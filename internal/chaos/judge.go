package chaos

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// mostTold is how many broken promises of one kind are told in words.
const mostTold = 5

// judge fills in a result. The fault began so long after the history did.
func (f *fleet) judge(ctx context.Context, r *Result, fault time.Duration) {
	defer func() { r.Broken = append(f.broken, r.Broken...) }()
	f.measure(r, fault)
	r.Operations, r.Faults = f.history.Len(), f.mixed
	if err := f.ends(ctx); err != nil {
		f.broke("what became of the tasks is not answered: %v", err)
		return
	}
	f.count(r)
	f.timed(ctx, r)
	f.slowIsNotDown(r)
	for i, v := range drill.Check(f.history, f.final) {
		if i == mostTold {
			r.Broken = append(r.Broken, "and more, which the history shows")
			break
		}
		first, _, _ := strings.Cut(v.String(), "\n")
		r.Broken = append(r.Broken, first)
	}
	for _, n := range f.nodes {
		if text, err := os.ReadFile(n.log); err != nil || strings.Contains(string(text), password) {
			f.broke("server %s has logged the password of Redis", n.name)
		}
	}
	switch {
	case r.Rate < leastRate:
		r.Void = fmt.Sprintf("before the fault there were only %.0f operations a second: this machine is too busy to prove anything", r.Rate)
	case r.Saw == 0 && f.felt == 0:
		r.Void = "no client has seen anything of the fault"
	case f.void != "":
		r.Void = f.void
	}
}

// measure looks at the traffic: its rate before the fault, and what clients saw
// of it.
func (f *fleet) measure(r *Result, fault time.Duration) {
	until := f.to.Sub(f.began)
	var slowest time.Duration
	done := 0
	for op := range f.history.Ops() {
		if op.Kind != drill.Enqueue && op.Kind != drill.Read {
			continue
		}
		took := op.Return - op.Call
		switch {
		case op.End == 0:
		case op.Return < fault:
			done++
			slowest = max(slowest, took)
		case op.Call < until && (op.Outcome != drill.OK || op.Durable == "journal" || op.Fresh == morningai.FreshStale || op.Fresh == morningai.FreshLocal ||
			took > slowest+200*time.Millisecond):
			r.Saw++
		}
	}
	if fault > f.asked {
		r.Rate = float64(done) / (fault - f.asked).Seconds()
	}
}

// count says what became of the tasks.
func (f *fleet) count(r *Result) {
	shown := map[morningai.ID]string{} // by readers of the history: succeeded once, succeeded for ever
	for op := range f.history.Ops() {
		if op.Kind == drill.Read && op.Outcome == drill.OK && op.State.Terminal() {
			shown[op.Task] = string(op.State)
		}
	}
	for op := range f.history.Ops() {
		if op.Kind != drill.Enqueue {
			continue
		}
		ran := f.callee.ran(op.Task)
		if ran > 0 {
			r.Ran++
		}
		if ran > 1 {
			r.Repeated++
		}
		switch {
		case f.odd[op.Task]: // the history says what it came to
			r.Accepted++
		case op.Outcome == drill.OK:
			r.Accepted++
			f.place(r, op.Task, shown[op.Task], ran)
		case op.Outcome == drill.Fail:
			r.Refused++
			if ran > 0 {
				f.broke("task %s was refused, and ran", op.Task)
			}
		default:
			r.Unsure++
		}
	}
	if r.Lost > 0 {
		f.broke("%d acknowledged tasks are lost", r.Lost)
	}
	if r.WrongStatus > 0 {
		f.broke("of %d acknowledged tasks the servers say something wrong", r.WrongStatus)
	}
}

// place says whether an acknowledged task is lost, or told of wrongly.
func (f *fleet) place(r *Result, id morningai.ID, shown string, ran int) {
	known, wrong := 0, false
	for i := range f.final.Nodes {
		end, ok := f.final.Nodes[i].Tasks[id]
		if ok {
			known++
		}
		wrong = wrong || end.State != f.final.Nodes[0].Tasks[id].State || shown != "" && string(end.State) != shown ||
			ok && end.State != morningai.StateSucceeded
	}
	switch {
	case known == 0 && ran == 0:
		r.Lost++ // nobody knows it, and it has not run
	case known < len(f.final.Nodes) || wrong:
		r.WrongStatus++
	}
}

// timed finds out when the servers noticed the fault and its end.
func (f *fleet) timed(ctx context.Context, r *Result) {
	for _, n := range f.nodes {
		incidents, err := n.client.Load().Incidents(ctx)
		if err != nil {
			continue // the reading of the ends has told of it
		}
		r.Incidents = max(r.Incidents, len(incidents))
		for i := range incidents {
			one := &incidents[i]
			if f.mixed != nil { // of many faults
				break
			}
			if one.StartedAt.After(f.from) && one.StartedAt.Before(f.to) {
				r.NoticedAfter = later(r.NoticedAfter, one.StartedAt.Sub(f.from))
			}
			if one.EndedAt.After(f.to) {
				r.RecoveredAfter = later(r.RecoveredAfter, one.EndedAt.Sub(f.to))
			}
		}
	}
}

// slowIsNotDown adds what a fault that only slows Redis down must not come to.
func (f *fleet) slowIsNotDown(r *Result) {
	if most := int((f.to.Sub(f.from) + time.Minute - 1) / time.Minute); f.scenario.slow && r.Incidents > most {
		f.broke("slow is not down: a server made %d outages of it, and not at most one a minute", r.Incidents)
	}
	if f.scenario.slow && r.Refused+r.Unsure > 0 {
		f.broke("slow is not down: %d tasks were not accepted", r.Refused+r.Unsure)
	}
}

func later(was *Span, d time.Duration) *Span {
	s := Span(d.Round(time.Millisecond))
	if was != nil {
		s = max(s, *was)
	}
	return &s
}
