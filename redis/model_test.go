package redis_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/sim"
)

// The model that simulations take for Redis says what a real server says, over
// the same sequences of operations. What cannot be the same is left out:
// leases, moments, and how many small steps a change takes.
func TestSimulatedRedisIsLikeARealOne(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			server.Do("FLUSHALL")
			random := rand.New(rand.NewPCG(seed, 1))
			model := sim.NewShared(time.Now, rand.New(rand.NewPCG(seed, 2)))
			c := &comparison{T: t, random: random, real: open(t, server.URL()), model: model.Link("node")}
			for i := range c.ids {
				id, err := morningai.NewID()
				if err != nil {
					t.Fatal(err)
				}
				c.ids[i] = id
			}
			for c.step = range 250 {
				c.operation()
				if c.step%10 == 0 {
					c.readAll()
				}
			}
			c.readAll()
		})
	}
}

// comparison makes the same calls of a real engine and of the model.
type comparison struct {
	*testing.T
	random      *rand.Rand
	real, model morningai.Engine
	step        int
	ids         [24]morningai.ID
	grants      []pairOfGrants
	sessions    []*twoSessions
	kept        [][2]morningai.Record // as they were at some time, real and model
}

type pairOfGrants struct{ real, model morningai.Grant }

type twoSessions struct {
	id      morningai.SessionID
	through [2]int64
	holding []pairOfGrants
}

func (c *comparison) fatal(what string, real, model any) {
	c.Helper()
	c.Fatalf("step %d: %s: the real engine says\n%v\nthe model\n%v", c.step, what, real, model)
}

func (c *comparison) same(what string, real, model any) {
	c.Helper()
	if a, b := fmt.Sprint(real), fmt.Sprint(model); a != b {
		c.fatal(what, a, b)
	}
}

func (c *comparison) sameError(what string, real, model error) {
	c.Helper()
	c.same(what, morningai.CodeOf(real), morningai.CodeOf(model))
}

func (c *comparison) id() morningai.ID  { return c.ids[c.random.IntN(len(c.ids))] }
func (c *comparison) is(p float64) bool { return c.random.Float64() < p }
func (c *comparison) queue() string     { return []string{"a", "b"}[c.random.IntN(2)] }
func (c *comparison) grant() *pairOfGrants {
	return &c.grants[max(0, len(c.grants)-1-c.random.IntN(6))]
}

func (c *comparison) operation() {
	switch n := c.random.IntN(20); {
	case n < 5:
		c.enqueue()
	case n < 9:
		c.claim()
	case n < 13:
		c.finish()
	case n == 13:
		c.checkpoint()
	case n == 14:
		c.beat()
	case n == 15 && c.is(0.4):
		c.reap()
	case n < 18:
		c.command()
	case n == 18:
		c.setQueue()
	default:
		c.imports()
	}
}

func (c *comparison) enqueue() {
	specs := make([]morningai.TaskSpec, 1+c.random.IntN(3))
	for i := range specs {
		s := morningai.NewTaskSpec([]string{"work", "rare"}[c.random.IntN(2)], json.RawMessage(fmt.Sprint(c.random.IntN(2))))
		s.ID, s.Queue, s.Priority, s.MaxAttempts = c.id(), c.queue(), c.random.IntN(3), 1+c.random.IntN(3)
		if c.is(0.4) {
			s.UniqueKey = fmt.Sprint("key", c.random.IntN(3))
		}
		if c.is(0.2) {
			s.RunAt = time.Now().Add(time.Hour)
		}
		if c.is(0.05) {
			s.Queue = "no queue"
		}
		specs[i] = s
	}
	for range 1 + c.random.IntN(2) { // a repeat, as after an answer that was lost
		real, err := c.real.Enqueue(c.Context(), slices.Clone(specs))
		model, modelErr := c.model.Enqueue(c.Context(), slices.Clone(specs))
		c.sameError("enqueue", err, modelErr)
		for i := range real {
			c.sameError("receipt", real[i].Err, model[i].Err)
			c.same("receipt", fmt.Sprint(real[i].Existing, real[i].Task.Duplicate, shown(real[i].Task), real[i].Task.Durable),
				fmt.Sprint(model[i].Existing, model[i].Task.Duplicate, shown(model[i].Task), model[i].Task.Durable))
		}
	}
}

func (c *comparison) session() *twoSessions {
	if len(c.sessions) < 3 && c.is(0.3) || len(c.sessions) == 0 {
		s := &twoSessions{id: morningai.SessionID{byte(c.step), byte(c.step >> 8), 1}}
		c.sessions = append(c.sessions, s)
		c.beatOf(s, false)
	}
	return c.sessions[c.random.IntN(len(c.sessions))]
}

func (c *comparison) claim() {
	s := c.session()
	req := morningai.ClaimRequest{Session: s.id, Types: []string{"work", "rare"}[:1+c.random.IntN(2)], N: c.random.IntN(4)}
	if c.is(0.3) {
		req.Queues = []morningai.QueueShare{{Name: "b", Share: 1}, {Name: "a", Share: 2}}
	}
	if c.is(0.05) {
		req.Session = morningai.SessionID{9, 9, 9}
	}
	real, err := c.real.Claim(c.Context(), req)
	model, modelErr := c.model.Claim(c.Context(), req)
	c.sameError("claim", err, modelErr)
	c.same("grants", len(real.Grants), len(model.Grants))
	lost := c.is(0.2)
	for i := range real.Grants {
		g := pairOfGrants{real.Grants[i], model.Grants[i]}
		c.same("grant", fmt.Sprint(shown(g.real.Task), g.real.Lease.Claim, steps(g.real.Steps)), fmt.Sprint(shown(g.model.Task), g.model.Lease.Claim, steps(g.model.Steps)))
		c.grants = append(c.grants, g)
		if !lost {
			s.holding = append(s.holding, g)
		}
	}
	for _, id := range model.Cancels { // the real one may name more, which have ended since
		if !slices.Contains(real.Cancels, id) {
			c.fatal("cancels of a claim", real.Cancels, model.Cancels)
		}
	}
	s.through = [2]int64{max(s.through[0], real.Seq), max(s.through[1], model.Seq)}
}

var outcomesToTry = []morningai.Outcome{morningai.OutcomeSucceeded, morningai.OutcomeRetry, morningai.OutcomeFailed,
	morningai.OutcomeSnoozed, morningai.OutcomeCanceled, morningai.OutcomeReleased}

func (c *comparison) finish() {
	if len(c.grants) == 0 {
		return
	}
	var real, model []morningai.Report
	for range 1 + c.random.IntN(2) {
		g := c.grant()
		r := morningai.Report{Lease: g.real.Lease, Node: "node", Attempt: g.real.Task.Attempt, StartedAt: g.real.Task.StartedAt, FinishedAt: time.Now(),
			Outcome: outcomesToTry[c.random.IntN(len(outcomesToTry))]}
		if c.is(0.03) {
			r.Outcome = "nonsense"
		}
		switch r.Outcome {
		case morningai.OutcomeSucceeded:
			r.Result = json.RawMessage(fmt.Sprint(c.random.IntN(3)))
		case morningai.OutcomeRetry, morningai.OutcomeFailed:
			r.Error = &morningai.TaskError{Code: "boom", Message: "no"}
		}
		if c.is(0.5) && (r.Outcome == morningai.OutcomeRetry || r.Outcome == morningai.OutcomeSnoozed) {
			r.RunAt = time.Now().Add(time.Hour)
		}
		m := r
		m.Lease = g.model.Lease
		if c.is(0.1) { // of a hand-out that the storage has lost
			r.Lease.Claim++
			r.Lease.Lease ^= 2
			r.Attempt++
			m.Lease, m.Attempt = r.Lease, r.Attempt
		}
		if c.is(0.05) {
			r.Lease.ID = morningai.ID{1}
			m.Lease.ID = r.Lease.ID
		}
		real, model = append(real, r), append(model, m)
	}
	for range 1 + c.random.IntN(2) {
		got, err := c.real.Finish(c.Context(), real)
		want, wantErr := c.model.Finish(c.Context(), model)
		c.sameError("finish", err, wantErr)
		for i := range got {
			c.sameError("verdict", got[i].Err, want[i].Err)
			if got[i].Err == nil {
				c.same("verdict", got[i].State, want[i].State)
			}
		}
	}
}

func (c *comparison) checkpoint() {
	if len(c.grants) == 0 {
		return
	}
	g := c.grant()
	p := morningai.Checkpoint{Lease: g.real.Lease, Kind: morningai.CheckpointKind(1 + c.random.IntN(3)), Data: json.RawMessage(fmt.Sprint(c.random.IntN(9)))}
	if p.Kind == morningai.CheckpointStep {
		p.Name = []string{"one", "two"}[c.random.IntN(2)]
	}
	if p.Kind == morningai.CheckpointLog {
		p.Line, p.Data = morningai.LogLine{Attempt: 1, At: time.Now(), Level: "info", Message: "line"}, nil
	}
	m := p
	m.Lease = g.model.Lease
	real, err := c.real.Checkpoint(c.Context(), []morningai.Checkpoint{p})
	model, modelErr := c.model.Checkpoint(c.Context(), []morningai.Checkpoint{m})
	c.sameError("checkpoint", err, modelErr)
	c.sameError("checkpoint", real[0], model[0])
}

func (c *comparison) beat() { c.beatOf(c.session(), c.is(0.15)) }

func (c *comparison) beatOf(s *twoSessions, leaving bool) {
	req := morningai.BeatRequest{Session: s.id, Node: "node", Types: []string{"work"}, Concurrency: 4, LeaseTime: 15 * time.Second, Leaving: leaving}
	if c.is(0.3) {
		req.Member = &morningai.Member{Journal: morningai.ID{byte(c.random.IntN(3)), 7}, Node: "node", Session: s.id, Backlog: int64(c.random.IntN(2)), ContactAt: time.Now()}
	}
	if c.is(0.1) {
		req.Forget = []morningai.ID{{byte(c.random.IntN(3)), 7}}
	}
	for i := 0; i < len(s.holding); {
		if c.is(0.15) { // given up for lost
			s.holding = slices.Delete(s.holding, i, i+1)
			continue
		}
		i++
	}
	real, model := req, req
	real.Through, model.Through = s.through[0], s.through[1]
	for _, g := range s.holding {
		real.Holding, model.Holding = append(real.Holding, g.real.Lease), append(model.Holding, g.model.Lease)
	}
	got, err := c.real.Beat(c.Context(), real)
	want, wantErr := c.model.Beat(c.Context(), model)
	c.sameError("beat", err, wantErr)
	claims := func(list []morningai.Lease) (out []string) {
		for _, l := range list {
			out = append(out, fmt.Sprint(l.ID, l.Claim))
		}
		return sortedText(out)
	}
	c.same("lost of a beat", claims(got.Lost), claims(want.Lost))
	c.same("cancels of a beat", sortedText(got.Cancels), sortedText(want.Cancels))
	sessions := func(list []morningai.Session) (out []string) {
		for _, s := range list {
			out = append(out, fmt.Sprint(s.ID, s.Node, s.Types, s.Concurrency, s.LeaseTime, s.Counter))
		}
		return sortedText(out)
	}
	c.same("sessions", sessions(got.Sessions), sessions(want.Sessions))
	members := func(list []morningai.Member) (out []string) {
		for _, m := range list {
			out = append(out, fmt.Sprint(m.Journal, m.Node, m.Session, m.Backlog, m.Connected))
		}
		return sortedText(out)
	}
	c.same("members", members(got.Members), members(want.Members))
	s.holding = slices.DeleteFunc(s.holding, func(g pairOfGrants) bool { return slices.Contains(got.Lost, g.real.Lease) })
	if leaving {
		c.sessions = slices.DeleteFunc(c.sessions, func(o *twoSessions) bool { return o == s })
	}
}

func (c *comparison) reap() {
	s := c.session()
	counter := func(e morningai.Engine) int64 {
		stats, err := e.Stats(c.Context())
		if err != nil {
			c.Fatal(err)
		}
		for _, o := range stats.Sessions {
			if o.ID == s.id {
				return o.Counter
			}
		}
		return 0
	}
	off := int64(0)
	if c.is(0.4) {
		off = -1 // it has beaten since
	}
	real, err := c.real.Reap(c.Context(), []morningai.Observation{{Session: s.id, Counter: counter(c.real) + off}})
	model, modelErr := c.model.Reap(c.Context(), []morningai.Observation{{Session: s.id, Counter: counter(c.model) + off}})
	c.sameError("reap", err, modelErr)
	c.same("reap", real, model)
	if len(real) > 0 {
		c.sessions = slices.DeleteFunc(c.sessions, func(o *twoSessions) bool { return o == s })
	}
}

func (c *comparison) command() {
	cmd := morningai.Command{Kind: []morningai.CommandKind{morningai.CommandCancel, morningai.CommandRetry, morningai.CommandRun, morningai.CommandDelete}[c.random.IntN(4)], ID: c.id()}
	if len(c.grants) > 0 && c.is(0.4) {
		cmd.ID = c.grant().real.Task.ID
	}
	if c.is(0.1) {
		cmd.Version = 1 << (20 + c.random.IntN(43)) // of no task
	}
	if c.is(0.2) {
		cmd.Error = &morningai.TaskError{Code: "superseded", Message: "by another"}
	}
	for range 1 + c.random.IntN(2) {
		real, err := c.real.Command(c.Context(), []morningai.Command{cmd})
		model, modelErr := c.model.Command(c.Context(), []morningai.Command{cmd})
		c.sameError("command", err, modelErr)
		c.sameError(string(cmd.Kind), real[0].Err, model[0].Err)
		if real[0].Err == nil && cmd.Kind != morningai.CommandDelete {
			c.same(string(cmd.Kind), shown(real[0].Task), shown(model[0].Task))
		}
	}
}

func (c *comparison) setQueue() {
	name := c.queue()
	var change morningai.QueueChange
	if c.is(0.5) {
		change.Paused = new(c.is(0.3))
	}
	if c.is(0.5) {
		change.Concurrency = new(c.random.IntN(4))
	}
	if c.is(0.05) {
		change.Concurrency = new(-1)
	}
	real, err := c.real.SetQueue(c.Context(), name, change)
	model, modelErr := c.model.SetQueue(c.Context(), name, change)
	c.sameError("set queue", err, modelErr)
	c.same("queue", fmt.Sprint(real.Paused, real.Concurrency, real.Rate), fmt.Sprint(model.Paused, model.Concurrency, model.Rate))
}
