package outagetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/faultproxy"
	"github.com/RC918/morningai/internal/redistest"
)

// fleet is a Redis, the servers on it, and what has happened to them.
type fleet struct {
	t       *testing.T
	redis   *redistest.Server
	proxy   *faultproxy.Proxy // between the servers and Redis; nil if there is none
	apart   bool              // each server has a proxy of its own
	history *drill.History
	callee  *callee
	docs    string
	flags   []string // of every server
	nodes   []*node

	kills []time.Time // just before each

	mu       sync.Mutex
	receipts []receipt
}

// lease is the lease time of servers in tests that need one to run out.
const lease = 5 * time.Second

// startFleet starts a Redis that keeps its data over a restart, and nothing else.
// The arguments are Redis's. It does not sync by itself: with everysec it answers
// before it has written while a sync is under way, and so a kill loses data.
func startFleet(t *testing.T, args ...string) *fleet {
	t.Helper()
	yard.start(t)
	h := drill.NewHistory(drill.Setup{LeaseTime: lease}, nil)
	f := &fleet{t: t, history: h, callee: newCallee(t, h), docs: t.TempDir(), flags: []string{"--lease", lease.String()}}
	f.redis = redistest.Start(t, append([]string{"--appendonly", "yes", "--appendfsync", "no"}, args...)...)
	return f
}

// behindProxy leads the servers that are added afterwards to Redis by a proxy.
func (f *fleet) behindProxy() *fleet {
	f.t.Helper()
	f.proxy = redistest.NewProxy(f.t, f.redis.Addr())
	return f
}

// add is a server of the fleet that does not run yet.
func (f *fleet) add(name string, flags ...string) *node {
	address, own := f.redis.URL(), f.proxy
	if f.apart {
		own = redistest.NewProxy(f.t, f.redis.Addr())
	}
	if own != nil {
		address = "redis://" + own.Addr()
	}
	all := append([]string{"--redis", address, "--docs", f.docs, "--http-allow", "127.0.0.0/8", "--concurrency", "100"}, f.flags...)
	n := newNode(f.t, name, append(all, flags...)...)
	n.proxy = own
	f.nodes = append(f.nodes, n)
	return n
}

// startNode adds a server and waits until it is ready.
func (f *fleet) startNode(name string, flags ...string) *node {
	f.t.Helper()
	n := f.add(name, flags...)
	n.start()
	return n
}

// kill ends a server with -9.
func (f *fleet) kill(n *node) {
	crash := f.history.Begin(drill.Op{Kind: drill.Crash, Node: n.name})
	someCrash := f.history.Begin(drill.Op{Kind: drill.Crash}) // of whichever server a run was on: the callee does not know
	f.kills = append(f.kills, time.Now())
	n.kill()
	crash.Return(nil)
	someCrash.Return(nil)
}

// again starts a server that was killed or stopped.
func (f *fleet) again(n *node) {
	f.t.Helper()
	n.start()
	f.history.Add(drill.Op{Kind: drill.Restart, Node: n.name})
}

// freeze stops a server without ending it, until thaw.
func (f *fleet) freeze(n *node) {
	f.t.Helper()
	n.signal(syscall.SIGSTOP)
	until(f.t, patience, n.name+" to stand still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

func (f *fleet) thaw(n *node) {
	f.t.Helper()
	n.signal(syscall.SIGCONT)
}

// acquainted waits until every server knows every other.
func (f *fleet) acquainted() {
	f.t.Helper()
	for _, n := range f.nodes {
		until(f.t, patience, n.name+" to know the others", func() bool {
			var all struct {
				Nodes []struct {
					Connected bool `json:"connected"`
					Protected bool `json:"protected"`
				} `json:"nodes"`
			}
			n.call("GET", "/v1/nodes", nil).into(f.t, &all)
			known := 0
			for _, m := range all.Nodes {
				if m.Connected && m.Protected { // its journal is on record too
					known++
				}
			}
			return known == len(f.nodes)
		})
	}
}

func (f *fleet) document(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.docs, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// view is a task as the API shows it, with every mark.
type view struct {
	morningai.Task
	marks struct {
		MaybeRepeated bool `json:"maybe_repeated"`
		ResultLost    bool `json:"result_lost"`
	}
}

func (v *view) UnmarshalJSON(raw []byte) error {
	if err := json.Unmarshal(raw, &v.marks); err != nil {
		return err
	}
	return json.Unmarshal(raw, &v.Task)
}

// spec is the request for a task. The test gives every task its id, so that it
// can ask for it whatever the answer was.
type spec map[string]any

func (f *fleet) echo(payload any) spec { return spec{"type": "echo", "payload": payload} }

// counted is a task that the callee counts, one that holds the connection as long
// as its payload says.
func (f *fleet) counted(payload map[string]any) spec { return spec{"type": "http", "payload": payload} }

func (s spec) with(name string, value any) spec {
	out := spec{name: value}
	for k, v := range s {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// receipt is the answer to an enqueue.
type receipt struct {
	reply
	id   morningai.ID
	node *node
	spec spec
	task view // zero unless it was accepted
}

// enqueue asks a server for a task and records that in the history.
func (f *fleet) enqueue(n *node, s spec) receipt {
	id, ok := s["id"].(morningai.ID)
	if !ok {
		var err error
		if id, err = morningai.NewID(); err != nil {
			f.t.Error(err)
			return receipt{reply: reply{err: err}}
		}
		s = s.with("id", id)
	}
	payload, err := json.Marshal(s["payload"])
	if err != nil {
		f.t.Error(err)
		return receipt{reply: reply{err: err}}
	}
	op := drill.Op{Kind: drill.Enqueue, Node: n.name, Client: "producer", Task: id, Payload: drill.DigestOf(payload)}
	op.Queue, _ = s["queue"].(string)
	op.Key, _ = s["unique_key"].(string)
	call := f.history.Begin(op)
	r := receipt{reply: n.call("POST", "/v1/tasks", s), id: id, node: n, spec: s}
	if r.status == 202 || r.status == 200 {
		r.err = json.Unmarshal(r.body, &r.task)
	}
	call.Return(func(o *drill.Op) {
		switch {
		case r.err != nil:
			o.Outcome = drill.Unknown
		case r.task.ID.IsZero():
			o.Outcome, o.Code = r.judge()
		default:
			o.Receive(&morningai.Receipt{Task: r.task.Task})
		}
	})
	f.mu.Lock()
	f.receipts = append(f.receipts, r)
	f.mu.Unlock()
	return r
}

// must is enqueue for a task that has to be accepted.
func (f *fleet) must(n *node, s spec) receipt {
	f.t.Helper()
	r := f.enqueue(n, s)
	f.accepted(r)
	return r
}

// accepted checks a receipt.
func (f *fleet) accepted(r receipt) bool {
	f.t.Helper()
	switch {
	case r.status != 202:
		f.t.Errorf("an enqueue on %s is answered with %s", r.node.name, r)
	case r.task.ID != r.id:
		f.t.Errorf("an enqueue of %s on %s is answered with task %s", r.id, r.node.name, r.task.ID)
	case !slices.Contains([]string{"journal", "journal+redis", "redis"}, r.task.Durable):
		f.t.Errorf("a receipt of %s says that the task is durable in %q", r.node.name, r.task.Durable)
	case r.task.Runs != morningai.RunsHere && r.task.Runs != morningai.RunsLater:
		f.t.Errorf("a receipt of %s says that the task runs %q", r.node.name, r.task.Runs)
	default:
		return true
	}
	return false
}

func (r reply) judge() (drill.Outcome, morningai.Code) {
	return drill.Judge(&morningai.Error{Code: morningai.Code(r.code())})
}

// look reads a task on a server.
func (f *fleet) look(n *node, id morningai.ID) (reply, view) { return f.lookAs("reader", n, id) }

func (f *fleet) lookAs(reader string, n *node, id morningai.ID) (reply, view) {
	// A server that was started again may know less than what it has shown: it
	// has other readers.
	reader = fmt.Sprintf("%s, start %d", reader, n.starts.Load())
	call := f.history.Begin(drill.Op{Kind: drill.Read, Node: n.name, Client: reader, Task: id})
	r := n.call("GET", "/v1/tasks/"+id.String(), nil)
	var v view
	if r.status == 200 {
		r.err = json.Unmarshal(r.body, &v)
	}
	call.Return(func(o *drill.Op) {
		switch {
		case r.err != nil:
			o.Outcome = drill.Unknown
		case r.status != 200:
			o.Outcome, o.Code = r.judge()
		default:
			o.Show(&v.Task)
			o.MaybeRepeated = v.marks.MaybeRepeated
		}
	})
	return r, v
}

// command does something to a task, and records it.
func (f *fleet) command(n *node, kind drill.Kind, id morningai.ID) (reply, view) {
	method, path := "POST", "/v1/tasks/"+id.String()
	if kind == drill.Delete {
		method = "DELETE"
	} else {
		path += "/" + string(kind)
	}
	call := f.history.Begin(drill.Op{Kind: kind, Node: n.name, Client: "operator", Task: id})
	r := n.call(method, path, nil)
	var v view
	if r.status == 200 || r.status == 202 {
		r.err = json.Unmarshal(r.body, &v)
	}
	call.Return(func(o *drill.Op) {
		switch {
		case r.err != nil:
			o.Outcome = drill.Unknown
		case r.status >= 400:
			o.Outcome, o.Code = r.judge()
		default:
			o.Show(&v.Task)
			o.Pending = v.Pending
		}
	})
	return r, v
}

// waitFor waits until a server shows a task in a state.
func (f *fleet) waitFor(n *node, id morningai.ID, state morningai.State) view {
	f.t.Helper()
	var last reply
	var v view
	if !within(patience, func() bool {
		last, v = f.look(n, id)
		return last.status == 200 && v.State == state
	}) {
		f.t.Fatalf("task %s does not become %s on %s; the last answer is %s", id, state, n.name, last)
	}
	return v
}

// running starts tasks on a server and returns once their handlers run. They
// run until the callee's gate of that name is opened.
func (f *fleet) running(n *node, count int, gate string) []receipt {
	f.t.Helper()
	var out []receipt
	all := f.callee.waiting(gate) + count
	for range count {
		out = append(out, f.must(n, f.counted(f.callee.gated(gate))))
	}
	until(f.t, patience, fmt.Sprintf("%d tasks to run", count), func() bool { return f.callee.waiting(gate) == all })
	return out
}

// all returns the receipts so far.
func (f *fleet) all() []receipt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.receipts)
}

func idsOf(receipts []receipt) []morningai.ID {
	var out []morningai.ID
	for _, r := range receipts {
		if !r.task.ID.IsZero() {
			out = append(out, r.task.ID)
		}
	}
	return out
}
