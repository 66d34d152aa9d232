package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// traffic are requests at a steady rate that waits for nobody.
type traffic struct {
	f      *fleet
	random *rand.Rand // of the one goroutine that begins requests
	over   chan struct{}
	once   sync.Once
	wait   sync.WaitGroup
	calls  sync.WaitGroup

	mu    sync.Mutex
	known []morningai.ID // accepted, in order
}

const (
	perSecond = 180
	mostOpen  = 2000 // requests under way; more are not begun
)

func startTraffic(f *fleet) *traffic {
	t := &traffic{f: f, random: rand.New(rand.NewPCG(f.config.Seed, 1)), over: make(chan struct{})}
	f.asked = f.now()
	t.wait.Go(t.run)
	return t
}

// stop ends the traffic and waits for the answers.
func (t *traffic) stop() {
	t.once.Do(func() { close(t.over) })
	t.wait.Wait()
	t.calls.Wait()
}

func (t *traffic) run() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	open := make(chan struct{}, mostOpen)
	begin := time.Now()
	for sent := 0; ; {
		select {
		case <-t.over:
			return
		case <-tick.C:
		}
		due := int(time.Since(begin).Seconds() * perSecond)
		sent = max(sent, due-perSecond/4) // what a busy machine has missed is not made up for
		for ; sent < due; sent++ {
			call := t.next(sent)
			select {
			case open <- struct{}{}:
				t.calls.Go(func() {
					call()
					<-open
				})
			default:
			}
		}
	}
}

// next is the request to be made now: two of three are enqueues, and of the others
// some are for a list.
func (t *traffic) next(i int) func() {
	n := t.f.nodes[t.random.IntN(len(t.f.nodes))]
	if i%3 == 2 {
		t.mu.Lock()
		defer t.mu.Unlock()
		if count := len(t.known); count > 0 {
			if i%60 == 2 {
				ids := slices.Clone(t.known[max(count-40, 0):])
				return func() { t.f.list(n, "reader", ids) }
			}
			id := t.known[count-1-t.random.IntN(min(count, 300))]
			return func() { t.f.read(n, "reader", id) }
		}
	}
	if takers := t.f.takers; takers != nil {
		n = takers[t.random.IntN(len(takers))]
	}
	lasts := 0
	if i%4 == 0 {
		lasts = 20 + t.random.IntN(300)
	}
	spec := morningai.NewTaskSpec("http", fmt.Appendf(nil, `{"url":"%s?ms=%d"}`, t.f.callee.url, lasts))
	spec.Priority = t.random.IntN(10)
	return func() {
		if id, ok := t.f.enqueue(n, spec); ok {
			t.mu.Lock()
			t.known = append(t.known, id)
			t.mu.Unlock()
		}
	}
}

// enqueue asks a server for a task and records that.
func (f *fleet) enqueue(n *node, spec morningai.TaskSpec) (morningai.ID, bool) {
	id, err := f.ask(n, spec)
	return id, err == nil
}

func (f *fleet) ask(n *node, spec morningai.TaskSpec) (morningai.ID, error) {
	id, err := morningai.NewID()
	if err != nil {
		return id, err
	}
	spec.ID = id // so that what becomes of it can be found out whatever the answer is
	call := f.history.Begin(drill.Op{Kind: drill.Enqueue, Node: n.name, Client: "producer", Task: id, Queue: spec.Queue, Key: spec.UniqueKey, Payload: drill.DigestOf(spec.Payload)})
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	task, err := n.client.Load().Enqueue(ctx, spec)
	receipt := morningai.Receipt{Err: err}
	if err == nil {
		receipt.Task = *task
	}
	call.Return(func(o *drill.Op) { o.Receive(&receipt) })
	return id, err
}

// read looks at a task on a server. One that was started again may know less
// than what it has shown: it has other readers.
func (f *fleet) read(n *node, who string, id morningai.ID) {
	who = fmt.Sprintf("%s, start %d", who, n.starts.Load())
	call := f.history.Begin(drill.Op{Kind: drill.Read, Node: n.name, Client: who, Task: id})
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	task, err := n.client.Load().Get(ctx, id)
	call.Return(func(o *drill.Op) {
		if o.Outcome, o.Code = drill.Judge(err); err == nil {
			o.Show(task)
		}
	})
}

// list asks for the newest tasks on a server, and looks for some of them.
func (f *fleet) list(n *node, who string, ids []morningai.ID) {
	who = fmt.Sprintf("%s, start %d", who, n.starts.Load())
	looks := map[morningai.ID]drill.Call{}
	for _, id := range ids {
		looks[id] = f.history.Begin(drill.Op{Kind: drill.Read, Node: n.name, Client: who, Task: id})
	}
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	page, err := n.client.Load().List(ctx, morningai.Filter{Limit: 200})
	if err != nil {
		return // nothing is said of a task then
	}
	for i := range page.Tasks {
		if call, ok := looks[page.Tasks[i].ID]; ok {
			call.Return(func(o *drill.Op) { o.Show(&page.Tasks[i]) })
		}
	}
}
