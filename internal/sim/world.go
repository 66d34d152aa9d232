package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// Config is what is simulated.
type Config struct {
	Open   Open
	Faults Faults
	Nodes  int // 0: one to three, by the seed
	// NoJournal: the nodes keep none, and may refuse what they cannot send.
	NoJournal bool
	// Limits are promises about time; nil: none is checked.
	Limits func(lease time.Duration) drill.Limits
	// alter changes a world before it begins; nil: nothing.
	alter func(*world)
}

// Result is what came of a seed.
type Result struct {
	Seed    uint64
	Broken  []drill.Violation
	Trouble string // why there is no end that could be checked: a panic, or no rest
	History *drill.History
	Final   drill.Final
	Digest  uint64 // the same for every run of the seed
	Steps   int
	Lines   []string // the story, if it was asked for
	names   func(string) string
}

// Failed reports that a promise was broken.
func (r *Result) Failed() bool { return len(r.Broken) > 0 || r.Trouble != "" }

// world is one run.
type world struct {
	loop
	cfg     Config
	plan    plan
	hist    *drill.History
	shared  *Shared
	net     *network
	hosts   []*host
	clients *clients
	rec     *recorder
	strikes *rand.Rand
}

// Run lets a seed happen and checks what came of it.
func Run(cfg Config, seed uint64) *Result { return runWorld(cfg, seed, false) }

// Tell is Run, with the whole story as text.
func Tell(cfg Config, seed uint64) *Result { return runWorld(cfg, seed, true) }

func runWorld(cfg Config, seed uint64, tracing bool) (r *Result) {
	w := &world{loop: loop{seed: seed, tracing: tracing, names: map[morningai.ID]string{}}, cfg: cfg}
	r = &Result{Seed: seed, names: w.rename}
	defer func() {
		if p := recover(); p != nil {
			r.Trouble = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
		r.History, r.Digest, r.Steps, r.Lines = w.hist, w.digest, w.steps, w.lines
	}()
	w.build()
	w.begin()
	w.run(w.plan.calm)
	w.net.losing = 0
	w.trace("", "all faults are over")
	if r.Trouble = w.settle(); r.Trouble != "" {
		return r
	}
	if r.Final, r.Trouble = w.final(); r.Trouble != "" {
		return r
	}
	r.Broken = drill.Check(w.hist, r.Final)
	if cfg.Limits != nil {
		r.Broken = append(r.Broken, drill.CheckTimes(w.hist, r.Final, cfg.Limits(w.plan.lease))...)
	}
	return r
}

func (w *world) build() {
	w.makePlan()
	setup := drill.Setup{LeaseTime: w.plan.lease, BeatInterval: w.interval(), Starts: true, Grants: true, Durable: true}
	w.shared = NewShared(w.wall, w.stream("shared"))
	w.strikes = w.stream("strikes")
	w.net = &network{loop: &w.loop, random: w.stream("net")}
	skews := w.stream("skew")
	for i := range w.plan.nodes {
		name := string(rune('a' + i))
		h := &host{w: w, name: name, random: w.stream("disk" + name)}
		if chance(skews, 0.3) {
			h.skew = time.Duration((skews.Float64() - 0.5) * float64(3*time.Second))
		}
		h.link = w.shared.Link(name)
		h.link.now = h.now
		h.disk = NewDisk(name, w.newID(h.random), h.now, h.random)
		w.hosts = append(w.hosts, h)
		if w.cfg.NoJournal {
			setup.NoJournal = append(setup.NoJournal, name)
		}
	}
	w.net.onNode = func(node string) reach { return w.hosts[node[0]-'a'].reach }
	w.hist = drill.NewHistory(setup, func() time.Duration { return w.now })
	w.rec = &recorder{h: w.hist, sessions: map[morningai.SessionID]sessionOf{}, trace: w.trace}
	for _, h := range w.hosts {
		h.link.rec, h.disk.rec = w.rec, w.rec
	}
	w.clients = &clients{w: w, random: w.stream("clients"), watching: w.stream("watching"), homes: map[morningai.ID]*host{}, until: w.plan.active}
}

func (w *world) begin() {
	for i, h := range w.hosts {
		w.after(time.Duration(i)*50*time.Millisecond, h.restart)
	}
	w.planFaults()
	w.clients.begin()
	if w.cfg.alter != nil {
		w.cfg.alter(w)
	}
}

func (w *world) interval() time.Duration { return min(800*time.Millisecond, w.plan.lease/4) }

// types are what a node handles: there is a kind of task that not every one does.
func (w *world) types(h *host) []string {
	if h.name == "a" || w.seed%2 == 0 {
		return []string{"work", "rare"}
	}
	return []string{"work"}
}

// newID makes an id of version 7 at this moment.
func (w *world) newID(r *rand.Rand) (id morningai.ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(w.wall().UnixMilli())<<16|uint64(r.IntN(1<<12))|7<<12)
	binary.BigEndian.PutUint64(id[8:], r.Uint64()>>2|1<<63)
	return id
}

// looks begins a look at every session that a beat of this worker may show.
func (w *world) looks(of *worker) map[morningai.SessionID]drill.Call {
	out := map[morningai.SessionID]drill.Call{}
	look := func(id morningai.SessionID, node string) {
		if id != of.session {
			out[id] = w.hist.Begin(drill.Op{Node: node, Client: of.h.name, Kind: drill.Observe, Key: sessionKey(id)})
		}
	}
	for _, h := range w.hosts {
		for run := int64(1); run <= h.runs+1; run++ { // one that is yet to come may come meanwhile
			look(sessionOfRun(h.name, run), h.name) // one that was declared dead may be back: a late beat brings it
		}
	}
	return out
}

// restart starts a node that is down.
func (h *host) restart() {
	if !h.up {
		h.start()
	}
}

const (
	patience  = 120 * time.Second // for coming to rest, of virtual time
	mostSteps = 3_000_000
)

// settle waits until nothing moves any more.
func (w *world) settle() string {
	quiet := 0
	backlogs := make([]int64, len(w.hosts))
	contacts := make([]morningai.Contact, len(w.hosts))
	for end := w.now + patience; w.now < end; {
		for i, h := range w.hosts {
			backlogs[i] = -1
			h.event(func() {
				h.node.Status(func(s morningai.FleetStatus, err error) {
					if err == nil {
						backlogs[i], contacts[i] = s.Backlog, s.Contact
					}
				})
			})
		}
		w.run(w.now + 500*time.Millisecond)
		if w.steps > mostSteps {
			return fmt.Sprintf("after %d steps there is no end", w.steps)
		}
		still := true
		for i, h := range w.hosts {
			still = still && backlogs[i] == 0 && contacts[i] == morningai.ContactUp && len(h.worker.runs) == 0
		}
		if quiet++; !still || w.moving() {
			quiet = 0
		}
		if quiet >= 7 { // nobody has to be expected any more that was started in an outage
			return ""
		}
	}
	w.trace("", "it does not come to rest: backlogs %v, contacts %v", backlogs, contacts)
	for _, h := range w.hosts {
		for _, r := range h.worker.runs {
			w.trace(h.name, "still has %v claim %d, over %v", r.task.ID, r.lease.Claim, r.over)
		}
	}
	for _, h := range w.hosts {
		if s, ok := h.node.(fmt.Stringer); ok {
			w.trace(h.name, "does not come to rest: %s", s)
		}
	}
	return "" // the checker says what is wrong with that
}

// moving reports that the shared engine holds tasks that will go on.
func (w *world) moving() bool {
	for _, r := range w.records() {
		if r.Deleted || r.Task.State.Terminal() || r.Task.State == morningai.StateQueued && w.paused(r.Task.Queue) {
			continue
		}
		return true
	}
	return false
}
