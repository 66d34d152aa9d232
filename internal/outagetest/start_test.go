package outagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// A server starts while Redis is away: it is ready and degraded, accepts and
// runs, and joins Redis when that comes.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.away(killed)
	a := f.startNode("a")
	f.degraded(a)
	if h := f.health(a); h.Status != "degraded" || h.Redis.Status != "down" || h.Redis.Cause == "" || h.Redis.Since.IsZero() {
		t.Errorf("the health of a server without Redis is %+v", h)
	}
	tr := f.traffic(50, f.mixed, a)
	local := f.must(a, f.counted(f.callee.atOnce()))
	if local.task.Durable != "journal" || local.task.Runs != morningai.RunsHere {
		t.Errorf("the receipt says %s, %s", local.task.Durable, local.task.Runs)
	}
	f.waitFor(a, local.id, morningai.StateSucceeded)
	f.back(killed)
	rest(time.Second)
	made := tr.stop()
	f.settle()
	f.startNode("b") // learns all from Redis
	f.allAccepted(made)
	f.succeededOnce(f.everyStatusAgrees(), append(made, local))
}

// What Redis is asked at the start is asked when it comes, and if the answer is
// no, the server says why and goes on without it until that is put right.
func TestStartChecksComeLater(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "--maxmemory-policy", "allkeys-lru")
	f.away(killed)
	a := f.startNode("a")
	f.degraded(a)
	early := f.must(a, f.counted(f.callee.atOnce()))
	killed.over(f) // Redis is back, but not one that may be used: the outage lasts
	until(t, patience, "the cause to be told", func() bool {
		h := f.health(a)
		return h.Status == "degraded" && strings.Contains(h.Redis.Cause+h.Redis.Hint, "maxmemory-policy")
	})
	late := f.must(a, f.counted(f.callee.atOnce()))
	f.waitFor(a, late.id, morningai.StateSucceeded)
	if keys := f.redis.Do("DBSIZE"); keys != "0" {
		t.Errorf("there are %s keys in a Redis that must not be used", keys)
	}
	f.redis.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), []receipt{early, late})
}

// A Redis that does not let the server run its scripts is a cause that is told,
// too.
func TestStartWithoutRights(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.redis.Do("ACL", "SETUSER", "default", "-evalsha", "-eval")
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	a := f.add("a")
	a.launch()
	// A server may refuse to start for what an operator has to put right, with
	// the cause, or be degraded and say it.
	said := func() string { return a.saidNow() }
	until(t, patience, "the missing right to be told", func() bool {
		select {
		case <-a.done:
			return true
		default:
		}
		return ready.MatchString(said())
	})
	select {
	case <-a.done:
		if text := strings.ToLower(said()); a.cmd.ProcessState.ExitCode() != 5 || !strings.Contains(text, "acl") && !strings.Contains(text, "right") {
			t.Errorf("it has ended with %d and said %s", a.cmd.ProcessState.ExitCode(), text)
		}
	default:
		a.awaitReady()
		if h := f.health(a); h.Status != "degraded" || h.Redis.Cause == "" {
			t.Errorf("a server that may not use its Redis says %+v", h)
		}
	}
}
