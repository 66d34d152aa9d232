package resilient

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sim"
)

// simNode is the core as a simulation drives it: what Engine does around the
// core with goroutines and clocks, the simulation does with a seed.
type simNode struct {
	c *core
}

// openSim is Open without what is real.
func openSim(env sim.Env) sim.Node {
	cfg := defaults()
	cfg.limit = 1 << 30
	WithNode(env.Name, func() string { return env.Name }, "sim")(&cfg)
	WithAsker(env.Ask)(&cfg)
	copy(cfg.incarnation[:], env.Name)
	binary.BigEndian.PutUint32(cfg.incarnation[4:], uint32(env.Run))
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			panic(err) // the journal's reads do not fail
		}
	}
	info, err := env.Journal.JournalInfo(ctx)
	must(err)
	cfg.member = info.ID
	known, err := readMirror(ctx, env.Journal)
	must(err)
	stats, err := env.Journal.Stats(ctx)
	must(err)
	c := newCore(cfg, env.Shared, env.Journal, env.Random, env.Now)
	c.load(info, known, &stats)
	past, err := ReadPast(ctx, env.Journal)
	must(err)
	link := env.Shared.(*sim.Link)
	link.Know(past.Data, past.Marks)
	c.cfg.marks = link.Acknowledged
	reports, err := c.readIncidents(ctx)
	must(err)
	if len(reports) > 0 {
		c.resumeIncident(reports[0])
	}
	return &simNode{c: c}
}

var simTargets = map[target]sim.Target{
	toReply: sim.ToReply, toShared: sim.ToShared, toJournal: sim.ToJournal, toPeer: sim.ToPeer, toLog: sim.ToLog, toCancel: sim.ToCancel,
}

func (n *simNode) Step(now time.Time, event func()) []sim.Effect {
	effects := n.c.step(now, event)
	out := make([]sim.Effect, len(effects))
	for i := range effects {
		f := &effects[i]
		out[i] = sim.Effect{To: simTargets[f.to], Name: f.name, Limit: f.limit, Waits: f.waits, Then: f.then,
			Run: func(ctx context.Context) (any, error) { return f.call(ctx, n.c.remote, n.c.journal) }}
		if f.to == toLog {
			out[i].Text = textOf(f.line)
		}
	}
	return out
}

func textOf(l *line) string {
	text := l.text
	for i := 0; i+1 < len(l.attrs); i += 2 {
		text += fmt.Sprintf(" %v=%v", l.attrs[i], l.attrs[i+1])
	}
	if l.level > slog.LevelInfo {
		return l.level.String() + " " + text
	}
	return text
}

func (n *simNode) Wake() time.Time { return n.c.wake() }
func (n *simNode) Open() bool      { return n.c.contact.open() }

func (n *simNode) Enqueue(specs []morningai.TaskSpec, done func([]morningai.Receipt, error)) {
	op := &enqueueOp{specs: specs, durability: specs[0].Durability, done: done}
	for i := range specs {
		op.fresh = append(op.fresh, specs[i].FreshID())
	}
	n.c.enqueue(op)
}

func (n *simNode) Claim(req morningai.ClaimRequest, done func(morningai.ClaimReply, error)) {
	n.c.claim(&claimOp{req: req, done: done})
}

func (n *simNode) Finish(reports []morningai.Report, done func([]morningai.Verdict, error)) {
	n.c.finish(&finishOp{reports: reports, parts: parts[morningai.Verdict]{done: done}})
}

func (n *simNode) Checkpoint(points []morningai.Checkpoint, done func([]error, error)) {
	n.c.checkpoint(&checkpointOp{points: points, parts: parts[error]{done: done}})
}

func (n *simNode) Beat(req morningai.BeatRequest, done func(morningai.BeatReply, error)) {
	n.c.beat(&beatOp{req: req, done: done}, false)
}

func (n *simNode) Reap(observed []morningai.Observation, done func([]morningai.SessionID, error)) {
	n.c.reap(&reapOp{done: done}, observed)
}

func (n *simNode) Command(cmds []morningai.Command, done func([]morningai.CommandResult, error)) {
	n.c.command(&commandOp{cmds: cmds, done: done})
}

func (n *simNode) Get(req morningai.GetRequest, here bool, done func([]morningai.Task, error)) {
	n.c.get(&getOp{req: req, here: here, done: done})
}

func (n *simNode) List(filter morningai.Filter, done func(morningai.Page, error)) {
	n.c.list(&listOp{filter: filter, done: done})
}

func (n *simNode) Stats(done func(morningai.Stats, error)) { n.c.stats(&statsOp{done: done}) }

func (n *simNode) SetQueue(name string, change morningai.QueueChange, done func(morningai.QueueConfig, error)) {
	n.c.setQueue(&setQueueOp{name: name, change: change, done: done})
}

func (n *simNode) Status(done func(morningai.FleetStatus, error)) {
	done(morningai.FleetStatus{Contact: n.c.contact.state, Backlog: n.c.backlog.undelivered(), Refusing: n.c.refusing()}, nil)
}

func (n *simNode) Incidents(done func([]morningai.Incident, error)) {
	c := n.c
	onJournal(c, "incidents", c.readIncidents, func(all []morningai.Incident, err error) {
		all = c.incidents.with(all, c.backlog.undelivered())
		c.reply(func() { done(all, err) })
	})
}

// String is what a node that does not come to rest still has to do.
func (n *simNode) String() string {
	b := &n.c.backlog
	return fmt.Sprintf("contact %s, in doubt %d, own %d, owned %d, outcomes %d, points %d, commands %d, settings %d, stage %d after %d, busy %v, due %v, held %d, mine %d, claims %d, unproved %v",
		n.c.contact.state, len(b.doubt), b.own, b.owned, b.outcomes, b.points, b.commands, b.settings, b.stage, b.after, b.busy, b.due, len(n.c.held), len(n.c.mine), len(n.c.claims), n.c.unproved())
}
