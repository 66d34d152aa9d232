package outagetest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redistest"
)

// planted is the password of every Redis here: nothing that a server prints or
// answers may repeat it.
const planted = "pl4nted-s3cret"

// mode is one way in which Redis fails.
type mode struct {
	name    string
	args    []string    // of Redis
	prepare func(*sick) // starts another Redis, or leads the way there through something
	provoke func(*sick) // makes it fail
	cure    func(*sick) // puts it right
	cause   string      // what the server says of it
	hint    string      // what it advises
}

// sick is a fleet whose Redis fails.
type sick struct {
	*fleet
	url       string // where the servers find Redis
	args      []string
	undo      func()
	authority *redistest.Authority
	group     *redistest.Group
	hosts     string
	cluster   *redistest.Cluster
	clock     *redistest.Clock
	jumps     int
	felt      []string // that is not to be
	tls       string   // address of the port that speaks TLS
}

// newSick is a fleet with the Redis of a mode, one server on it, and a task that
// has succeeded.
func newSick(t *testing.T, m mode) (*sick, *node, receipt) {
	t.Helper()
	user := []string{"--user", "app", "on", ">" + planted, "~*", "&*", "+@all"}
	s := &sick{fleet: startFleet(t, append(user, m.args...)...), args: user}
	s.url = "redis://app:" + planted + "@" + s.redis.Addr()
	if m.prepare != nil {
		m.prepare(s)
	}
	n := newNode(t, "a", "--redis", s.url, "--docs", s.docs, "--http-allow", "127.0.0.0/8", "--concurrency", "20")
	if s.hosts != "" {
		n.withHosts(s.hosts)
	}
	s.nodes = append(s.nodes, n)
	n.start()
	first := s.must(n, s.counted(s.callee.atOnce()))
	s.waitFor(n, first.id, morningai.StateSucceeded)
	return s, n, first
}

// Every way in which Redis is known to fail, brought about for real. The node
// goes on by itself and says what is wrong and what to do in words that an
// operator can act on; when it is put right, all that was accepted is in Redis.
func TestFailureModes(t *testing.T) {
	t.Parallel()
	for _, m := range slices.Concat(opens(), opensBySetup()) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s, n, first := newSick(t, m)
			s.history.Add(drill.Op{Kind: drill.RedisDown})
			m.provoke(s)
			made := []receipt{first}
			var h health
			if !within(patience, func() bool {
				made = append(made, s.must(n, s.counted(s.callee.atOnce())))
				h = s.health(n)
				return h.Status == "degraded" && h.Redis.Cause != "" && strings.Contains(h.Redis.Cause, m.cause)
			}) {
				t.Fatalf("its health is %+v, and should give the cause %q", h, m.cause)
			}
			if !strings.Contains(h.Redis.Hint, m.hint) {
				t.Errorf("the advice is %q, and should have %q", h.Redis.Hint, m.hint)
			}
			t.Logf("%s; %s", h.Redis.Cause, h.Redis.Hint)
			until(t, patience, "the probe of Redis to turn", func() bool { return n.call("GET", "/health/redis", nil).status == http.StatusServiceUnavailable })
			var local receipt // one that Redis was not asked about: the circuit is open
			until(t, patience, "a task to run here", func() bool {
				local = s.must(n, s.counted(s.callee.atOnce()))
				made = append(made, local)
				return local.task.Durable == "journal" && local.task.Runs == morningai.RunsHere
			})
			s.waitFor(n, local.id, morningai.StateSucceeded)
			s.keepsSecrets(n)
			m.cure(s)
			s.history.Add(drill.Op{Kind: drill.RedisUp})
			s.settle()
			told := s.incidents(n)
			if len(told) != 1 || !strings.Contains(told[0].Cause, m.cause) || !strings.Contains(told[0].Hint, m.hint) || told[0].Lost != 0 {
				t.Errorf("the incidents are %+v", told)
			}
			if log := n.saidNow(); !strings.Contains(log, m.cause) || !strings.Contains(log, m.hint) {
				t.Errorf("the log lacks the cause %q or the advice %q", m.cause, m.hint)
			}
			s.succeededOnce(s.everyStatusAgrees(), made)
			s.keepsSecrets(n)
		})
	}
}

// What one more try gets over is no outage. A machine that lets a server or Redis wait
// for as long as it takes to call an outage proves nothing, and is asked again.
func TestFailuresThatPass(t *testing.T) {
	t.Parallel()
	for _, m := range slices.Concat(passes(), passesBySetup()) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for tries := 1; ; tries++ {
				felt, starved := passesBy(t, m)
				if len(felt) > 0 && starved && tries < 5 {
					t.Logf("the machine was late, so that this proves nothing: %s", felt[0])
					continue
				}
				for _, what := range felt {
					t.Error(what)
				}
				return
			}
		})
	}
}

// passesBy returns what is felt of a failure, and whether the machine is a reason.
func passesBy(t *testing.T, m mode) (felt []string, starved bool) {
	t.Helper()
	s, n, first := newSick(t, m)
	from := time.Now()
	made := []receipt{first}
	for range 5 {
		m.provoke(s)
		for range 5 {
			r := s.must(n, s.counted(s.callee.atOnce()))
			if r.task.Durable != "journal+redis" {
				s.feel("a task is durable in %q", r.task.Durable)
			}
			made = append(made, r)
		}
	}
	s.settle()
	starved = true // being slow is all that a machine can make of it
	for _, i := range s.incidents(n) {
		s.feel("it makes an outage of it: %+v", i)
		starved = starved && strings.Contains(i.Cause, "does not answer in time")
	}
	s.succeededOnce(s.everyStatusAgrees(), made)
	s.keepsSecrets(n)
	n.kill() // there may be another try
	longest := percentile(yard.since(t, from).took(), 100)
	return s.felt, starved && longest > lateMachine
}

// lateMachine is how long a call of the control does not take on a machine that gives
// every program its turn.
const lateMachine = 150 * time.Millisecond

// feel notes something that nobody is to notice.
func (s *sick) feel(what string, args ...any) { s.felt = append(s.felt, fmt.Sprintf(what, args...)) }

// keepsSecrets looks for the password in all that a server tells.
func (s *sick) keepsSecrets(n *node) {
	s.t.Helper()
	told := map[string]string{"the log": n.said()}
	paths := []string{"/health", "/health/redis", "/livez", "/readyz", "/metrics", "/v1/incidents", "/v1/nodes", "/v1/stats", "/v1/queues"}
	at := "--server=" + *n.url.Load()
	commands := [][]string{{"doctor", "--redis", s.url}, {"node", "list", at}, {"incident", "list", at}, {"health", at}}
	for _, one := range s.incidents(n) {
		paths = append(paths, "/v1/incidents/"+one.ID)
		commands = append(commands, []string{"incident", "show", one.ID, at})
	}
	for _, path := range paths {
		told[path] = n.call("GET", path, nil).String()
	}
	for _, words := range commands {
		out, said, _ := n.command(words...) // whose code says how Redis is
		if out+said == "" || strings.Contains(out+said, "see morningai --help") {
			s.t.Errorf("%v prints %q", words, out+said)
		}
		told["morningai "+words[0]] += out + said
	}
	for where, text := range told {
		if strings.Contains(text, planted) {
			s.t.Errorf("%s has the password", where)
		}
	}
}
