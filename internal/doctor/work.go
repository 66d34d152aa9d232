package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// source is who is asked about the work: Redis itself, or a server.
type source struct {
	d   *doctor
	srv *serverLook
	r   *redisLook
	why string // nobody can be asked
}

// workOf prefers Redis, which knows the sessions that do not beat any more.
func workOf(srv *serverLook, r *redisLook) *source {
	s := &source{d: r.d, srv: srv, r: r}
	switch {
	case r.reached() && r.usable, srv.answers():
	case r.reached() && !r.prepared:
		s.why = "no server has used this Redis yet"
	default:
		s.why = "neither a server nor Redis can be asked"
	}
	return s
}

// work is what was seen of it in one look.
type work struct {
	at       time.Time
	failed   error
	skipped  string
	queues   []morningai.QueueInfo
	sessions []worker
	running  []morningai.Task
	orphans  map[string][]string // by queue, types of queued tasks that no worker handles
	versions map[string][]string // nodes by version
}

// worker is a session, or a node as a server tells of it.
type worker struct {
	id      string
	node    string
	counter int64 // -1: not told
	running int
	types   []string
	queues  []string
	lease   time.Duration
}

func (w *worker) handles(queue, taskType string) bool {
	return w.serves(queue) && slices.Contains(w.types, taskType)
}

func (w *worker) serves(queue string) bool {
	return len(w.types) > 0 && (len(w.queues) == 0 || slices.Contains(w.queues, queue))
}

const (
	runningLooked = 1000 // tasks
	queuedLooked  = 200  // of a queue
)

// look reads it all.
func (s *source) look(ctx context.Context) work {
	w := work{at: time.Now(), skipped: s.why, orphans: map[string][]string{}, versions: map[string][]string{}}
	if s.why != "" {
		return w
	}
	ctx, cancel := context.WithTimeout(ctx, 3*askTime)
	defer cancel()
	if s.r.reached() && s.r.usable {
		w.failed = s.askRedis(ctx, &w)
	} else {
		w.failed = s.askServer(ctx, &w)
	}
	return w
}

// lister is an engine or a client.
type lister interface {
	List(ctx context.Context, f morningai.Filter) (morningai.Page, error)
}

func (s *source) askRedis(ctx context.Context, w *work) error {
	engine := s.r.in.Engine()
	stats, err := engine.Stats(ctx)
	if err != nil {
		return err
	}
	w.queues = stats.Queues
	for _, m := range stats.Sessions {
		w.sessions = append(w.sessions, worker{id: fmt.Sprintf("%x", m.ID[:]), node: m.Node, counter: m.Counter, running: m.Running, types: m.Types, queues: m.Queues, lease: m.LeaseTime})
	}
	members, err := s.r.in.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		w.versions[m.Version] = append(w.versions[m.Version], m.Node)
	}
	return w.read(ctx, engine)
}

func (s *source) askServer(ctx context.Context, w *work) error {
	var err error
	if w.queues, err = s.srv.client.Queues(ctx); err != nil {
		return err
	}
	nodes, _, err := s.srv.client.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Version != "" {
			w.versions[n.Version] = append(w.versions[n.Version], n.Node)
		}
		if n.Connected && n.Concurrency > 0 {
			w.sessions = append(w.sessions, worker{id: n.ID.String(), node: n.Node, counter: -1, running: n.Running, types: n.Types, queues: n.Queues})
		}
	}
	return w.read(ctx, s.srv.client)
}

func (w *work) read(ctx context.Context, from lister) error {
	page, err := from.List(ctx, morningai.Filter{State: morningai.StateRunning, Limit: runningLooked})
	if err != nil {
		return err
	}
	w.running = page.Tasks
	for i := range w.queues {
		q := &w.queues[i]
		if q.Counts[morningai.StateQueued] == 0 {
			continue
		}
		page, err := from.List(ctx, morningai.Filter{State: morningai.StateQueued, Queue: q.Name, Limit: queuedLooked})
		if err != nil {
			return err
		}
		for k := range page.Tasks {
			t := &page.Tasks[k]
			handled := slices.ContainsFunc(w.sessions, func(s worker) bool { return s.handles(q.Name, t.Type) })
			if !handled && !slices.Contains(w.orphans[q.Name], t.Type) {
				w.orphans[q.Name] = append(w.orphans[q.Name], t.Type)
			}
		}
	}
	return nil
}

// lookAtWork compares the two looks.
func (d *doctor) lookAtWork(before, now work) {
	checks := []string{workSessions, workStuck, workQueues, workVersions}
	switch {
	case now.skipped != "":
		d.skip(now.skipped, checks...)
		return
	case now.failed != nil:
		detail, hint := worded(now.failed)
		for _, name := range checks {
			d.unknown(name, detail, hint)
		}
		return
	}
	d.sessions(before, now)
	d.stuck(now)
	d.queues(before, now)
	d.versions(now)
}

// sessions looks for those that do not beat.
func (d *doctor) sessions(before, now work) {
	var still []string
	for _, s := range now.sessions {
		for _, b := range before.sessions {
			if b.id == s.id && s.counter >= 0 && b.counter == s.counter && now.at.Sub(before.at) > beats(s.lease) {
				still = append(still, fmt.Sprintf("%s (%d tasks running)", named(s.node), s.running))
			}
		}
	}
	if len(still) > 0 {
		d.wrong(workSessions, "no heartbeat of "+strings.Join(still, ", "),
			"the worker is gone, frozen or cut off; its tasks start elsewhere once another server has watched it for its lease, so at least one has to run", "morningai node list; morningai serve")
		return
	}
	d.ok(workSessions, fmt.Sprintf("%d live workers", len(now.sessions)))
}

// beats is the time within which a live session must have beaten: twice as long
// as it takes.
func beats(lease time.Duration) time.Duration {
	if lease == 0 {
		lease = morningai.DefaultLease
	}
	return 2 * min(800*time.Millisecond, lease/4)
}

func named(node string) string {
	if node == "" {
		return "a worker without a name"
	}
	return node
}

func (d *doctor) stuck(now work) {
	var ids []string
	for i := range now.running {
		t := &now.running[i]
		if !t.StartedAt.IsZero() && t.Timeout > 0 && now.at.Sub(t.StartedAt) > t.Timeout+d.overdue {
			ids = append(ids, t.ID.String())
		}
	}
	if len(ids) > 0 {
		d.wrong(workStuck, fmt.Sprintf("%d tasks run for longer than their timeout, first %s", len(ids), ids[0]),
			"nobody ends them: their worker is gone and no other server runs that would notice, or it is stuck itself", "morningai task why "+ids[0]+"; morningai task cancel "+ids[0])
		return
	}
	d.ok(workStuck, fmt.Sprintf("%d tasks run, none for longer than it may", len(now.running)))
}

// queues looks for tasks that no worker takes, at both looks.
func (d *doctor) queues(before, now work) {
	var bad []string
	for _, q := range now.queues {
		types := now.orphans[q.Name]
		if len(types) == 0 || len(before.orphans[q.Name]) == 0 {
			continue
		}
		slices.Sort(types)
		bad = append(bad, fmt.Sprintf("%s holds %d tasks, and no live worker handles %s there", q.Name, q.Counts[morningai.StateQueued], strings.Join(types, ", ")))
	}
	if len(bad) > 0 {
		d.wrong(workQueues, strings.Join(bad, "; "), "they wait until a worker with that handler serves the queue", "morningai node list; morningai serve")
		return
	}
	d.ok(workQueues, fmt.Sprintf("%d queues, each queued task has a worker", len(now.queues)))
}

func (d *doctor) versions(now work) {
	var all []string
	for v, nodes := range now.versions {
		slices.Sort(nodes)
		all = append(all, fmt.Sprintf("%s: %s", v, strings.Join(nodes, ", ")))
	}
	slices.Sort(all)
	if len(all) > 1 {
		d.wrong(workVersions, strings.Join(all, "; "), "a new version beside an old one works, but should not last: finish the upgrade", "systemctl restart morningai")
		return
	}
	if len(all) == 0 {
		all = []string{"no server that tells its version is on record"}
	}
	d.ok(workVersions, all[0])
}
