package outagetest

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// Separate processes, as web teams run them: while Redis is away the api server
// accepts, and a worker server that knows it as a peer runs its tasks.
func TestWorkerOfAPeer(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	api := f.startNode("api", "--role", "api")
	worker := f.startNode("worker", "--role", "worker", "--peer", *api.url.Load())
	before := f.must(api, f.counted(f.callee.atOnce()))
	f.waitFor(api, before.id, morningai.StateSucceeded)
	f.away(frozen)
	f.degraded(api, worker)
	tr := f.traffic(50, f.allCounted, api)
	var first receipt
	until(t, patience, "the api server to know that somebody runs its tasks", func() bool {
		first = f.must(api, f.counted(f.callee.atOnce()))
		return first.task.Runs == morningai.RunsHere
	})
	f.waitFor(api, first.id, morningai.StateSucceeded) // Redis is away
	long := f.running(api, 5, "gate")
	f.back(frozen)
	made := tr.stop()
	until(t, patience, "the api server to recover", func() bool { return f.health(api).Status == "ok" })
	f.callee.open("gate") // what a peer ran when Redis came back ends once
	f.settle()
	f.allAccepted(made)
	f.succeededOnce(f.everyStatusAgrees(), append(append(made, long...), before, first))
}

// The worker is killed while it runs a peer's tasks, with Redis away: they run
// again, with the cause on record, and nothing is lost.
func TestWorkerOfAPeerKilled(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	api := f.startNode("api", "--role", "api")
	worker := f.startNode("worker", "--role", "worker", "--peer", *api.url.Load())
	f.away(frozen)
	f.degraded(api, worker)
	long := f.running(api, 5, "gate")
	f.kill(worker)
	f.again(worker)
	f.callee.open("gate")
	for _, r := range long {
		f.waitFor(api, r.id, morningai.StateSucceeded)
	}
	f.back(frozen)
	f.nothingLost(f.atRest(), long)
}

// The api server is killed or stopped, and started again, while a peer runs its
// tasks, with Redis away or back by then: they go on, end once, and nothing is lost.
func TestServerOfAWorkerKilled(t *testing.T) {
	for name, end := range map[string]func(f *fleet, api *node){
		"killed": func(f *fleet, api *node) { f.kill(api) },
		"killed until Redis is back": func(f *fleet, api *node) {
			f.kill(api)
			f.back(frozen)
		},
		"stopped": func(f *fleet, api *node) {
			if code := api.stop(); code != 0 {
				f.t.Errorf("it ended with %d: %s", code, api.said())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := l.Addr().String() // the same after the restart
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			api := f.startNode("api", "--role", "api", "--listen", address, "--grace", "500ms")
			worker := f.startNode("worker", "--role", "worker", "--peer", *api.url.Load())
			f.away(frozen)
			f.degraded(api, worker)
			long := f.running(api, 5, "gate")
			end(f, api)
			f.again(api)
			// What comes before the worker has found its peer again waits for Redis.
			var next receipt
			all := slices.Clone(long)
			until(t, time.Minute, "the worker to find its peer again", func() bool {
				next = f.must(api, f.counted(f.callee.atOnce()))
				all = append(all, next)
				return next.task.Runs == morningai.RunsHere
			})
			f.waitFor(api, next.id, morningai.StateSucceeded)
			f.callee.open("gate")
			for _, r := range long {
				f.waitFor(api, r.id, morningai.StateSucceeded)
			}
			if name != "killed until Redis is back" {
				f.back(frozen)
			}
			f.succeededOnce(f.atRest(), all)
		})
	}
}

// Without a worker that knows it, the api server says that its tasks wait, and
// they do.
func TestNoWorkerKnowsThePeer(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	api := f.startNode("api", "--role", "api")
	worker := f.startNode("worker", "--role", "worker")
	f.away(killed)
	f.degraded(api, worker)
	var made []receipt
	for range 20 {
		r := f.must(api, f.counted(f.callee.atOnce()))
		if r.task.Runs != morningai.RunsLater {
			t.Errorf("the receipt of an api server that nobody works for says %q", r.task.Runs)
		}
		made = append(made, r)
	}
	if r, v := f.look(api, made[0].id); r.status != 200 || v.State != morningai.StateQueued {
		t.Errorf("the task is answered with %s", r)
	}
	f.back(killed)
	f.succeededOnce(f.atRest(), made)
}
