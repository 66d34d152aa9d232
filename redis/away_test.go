package redis_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

const parts = 16

// held are the partitions of a Cluster that a primary holds.
func partsOf(c *redistest.Cluster, s *redistest.Server) (out []int) {
	for n := range parts {
		if c.Owner(fmt.Sprintf("mai:{%d}:meta", n)) == s {
			out = append(out, n)
		}
	}
	return out
}

func missing(e *redis.Engine) (out []int) {
	for _, a := range e.Capabilities().Away {
		out = append(out, a.Part)
	}
	return out
}

// in is a task that belongs to a partition.
func in(t *testing.T, part int) morningai.TaskSpec {
	t.Helper()
	s := morningai.NewTaskSpec("echo", nil)
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	id[15] = byte(part)
	s.ID = id
	return s
}

// TestPrimaryAway loses one of three primaries: calls leave its partitions out, refuse
// what concerns them, and go on with the others. Afterwards a session that dies is
// reaped in all of them.
func TestPrimaryAway(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := redistest.StartCluster(t, 3, "--appendonly", "yes", "--appendfsync", "no", "--cluster-require-full-coverage", "no")
	url := fmt.Sprintf("%s?partitions=%d", c.URL(), parts)
	e, other := open(t, url), open(t, url)
	beat := func(e *redis.Engine, s morningai.SessionID, holding ...morningai.Lease) morningai.BeatReply {
		t.Helper()
		reply, err := e.Beat(ctx, morningai.BeatRequest{Session: s, Node: "n", Types: []string{"echo"}, LeaseTime: time.Minute, Holding: holding})
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	mine, watcher := morningai.SessionID{1}, morningai.SessionID{2}
	beat(e, mine)
	beat(other, watcher)
	var specs []morningai.TaskSpec
	for n := range parts {
		specs = append(specs, in(t, n))
	}
	if _, err := e.Enqueue(ctx, specs); err != nil {
		t.Fatal(err)
	}
	had, err := e.Claim(ctx, morningai.ClaimRequest{Session: mine, Types: []string{"echo"}, N: parts})
	if err != nil || len(had.Grants) != parts {
		t.Fatalf("%d of %d tasks are handed out, %v", len(had.Grants), parts, err)
	}
	var leases []morningai.Lease
	for _, g := range had.Grants {
		leases = append(leases, g.Lease)
	}
	stats, err := e.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}

	victim := c.Owner("mai:{3}:meta")
	lost := partsOf(c, victim)
	victim.Kill()
	for _, e := range []*redis.Engine{e, other} {
		redistest.Until(t, "the lost partitions to be away", func() bool {
			if err := e.Probe(ctx); err != nil {
				t.Fatal(err)
			}
			return slices.Equal(missing(e), lost)
		})
		if a := e.Capabilities().Away[0]; a.Server != victim.Addr() || a.Cause == nil {
			t.Errorf("what is away is %+v, not %s", a, victim.Addr())
		}
	}
	if reply := beat(e, mine, leases...); !slices.Equal(reply.Missed, lost) || len(reply.Lost) > 0 {
		t.Errorf("a beat has missed %v, and lost %v", reply.Missed, reply.Lost)
	}
	var more []morningai.TaskSpec
	for n := range parts {
		more = append(more, in(t, n))
	}
	receipts, err := e.Enqueue(ctx, more)
	if err != nil {
		t.Fatal(err)
	}
	for n := range parts {
		if gone := errors.Is(receipts[n].Err, redis.ErrUnavailable); gone != slices.Contains(lost, n) || !gone && receipts[n].Err != nil {
			t.Errorf("a task of partition %d is answered with %v", n, receipts[n].Err)
		}
	}
	for range 50 {
		s := morningai.NewTaskSpec("echo", nil)
		if r, err := e.Enqueue(ctx, []morningai.TaskSpec{s}); err != nil || r[0].Err != nil || slices.Contains(lost, r[0].Task.ID.Part(parts)) {
			t.Fatalf("a task without an id: %v, %+v", err, r)
		}
	}
	got, err := e.Claim(ctx, morningai.ClaimRequest{Session: mine, Types: []string{"echo"}, N: 100})
	if err != nil || len(got.Grants) != parts-len(lost)+50 {
		t.Errorf("%d tasks are handed out, %v", len(got.Grants), err)
	}
	for _, g := range got.Grants {
		leases = append(leases, g.Lease)
	}
	if now, err := e.Stats(ctx); err != nil || now.Fresh != morningai.FreshStale || now.States[morningai.StateRunning] != stats.States[morningai.StateRunning]+int64(len(got.Grants)) {
		t.Errorf("stats are %s, %v, and were %v: %v", now.Fresh, now.States, stats.States, err)
	}
	if page, err := e.List(ctx, morningai.Filter{Limit: 1000}); err != nil || len(page.Tasks) != parts-len(lost)+len(got.Grants) {
		t.Errorf("a list has %d tasks, %v", len(page.Tasks), err)
	}
	paused := true
	if _, err := e.SetQueue(ctx, "default", morningai.QueueChange{Paused: &paused}); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("a pause that cannot be told to all is answered with %v", err)
	}
	if _, err := e.Enqueue(ctx, []morningai.TaskSpec{morningai.NewTaskSpec("echo", nil)}); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Claim(ctx, morningai.ClaimRequest{Session: mine, Types: []string{"echo"}, N: 1}); err != nil || len(got.Grants) > 0 {
		t.Errorf("the pause does not hold where it could be told: %d tasks, %v", len(got.Grants), err)
	}

	victim.Restart()
	for _, e := range []*redis.Engine{e, other} {
		redistest.Until(t, "the lost partitions to be back", func() bool { return len(missing(e)) == 0 })
	}
	if reply := beat(e, mine, leases...); len(reply.Missed)+len(reply.Lost) > 0 {
		t.Errorf("afterwards a beat has missed %v, and lost %v", reply.Missed, reply.Lost)
	}
	seen := beat(other, watcher)
	i := slices.IndexFunc(seen.Sessions, func(s morningai.Session) bool { return s.ID == mine })
	if i < 0 {
		t.Fatal("the session is not known any more")
	}
	if dead, err := other.Reap(ctx, []morningai.Observation{{Session: mine, Counter: seen.Sessions[i].Counter}}); err != nil || len(dead) != 1 {
		t.Fatalf("the session is not declared dead: %v, %v", dead, err)
	}
	if now, err := other.Stats(ctx); err != nil || now.States[morningai.StateRunning] != 0 {
		t.Errorf("of a dead session %d tasks still run, %v", now.States[morningai.StateRunning], err)
	}
}

// TestUniqueKeyWithAFreshID has a spec that was given an id on its way, which nobody
// knows yet: it moves to the partition of its unique key.
func TestUniqueKeyWithAFreshID(t *testing.T) {
	t.Parallel()
	e := open(t, redistest.Start(t).URL()+"?partitions=16")
	homes := map[int]bool{}
	for range 40 {
		s := morningai.NewTaskSpec("echo", nil)
		s.UniqueKey = "key"
		if err := s.Normalize(); err != nil {
			t.Fatal(err)
		}
		if err := e.Prepare(&s); err != nil || !s.FreshID() {
			t.Fatalf("the id is fresh: %v, %v", s.FreshID(), err)
		}
		homes[s.ID.Part(parts)] = true
	}
	if len(homes) != 1 {
		t.Errorf("one key lives in %d partitions", len(homes))
	}
}
