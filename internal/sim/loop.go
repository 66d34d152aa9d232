package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// loop is virtual time: what is to happen, and when. Of two things at the same
// moment the one that was asked for first comes first.
type loop struct {
	seed   uint64
	now    time.Duration
	queue  events
	asked  int64
	steps  int
	digest uint64 // of all that has happened, to compare runs

	tracing bool
	lines   []string
	names   map[morningai.ID]string
}

// start is the wall clock at the beginning.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (l *loop) wall() time.Time { return start.Add(l.now) }

// stream is a source of randomness for one purpose, so that what one part draws
// does not change what another does.
func (l *loop) stream(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(l.seed, h.Sum64()))
}

type timedEvent struct {
	at    time.Duration
	asked int64
	do    func()
}

type events []timedEvent

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].asked < q[j].asked
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(timedEvent)) }
func (q *events) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = timedEvent{}
	*q = old[:len(old)-1]
	return last
}

// after lets something happen some time from now.
func (l *loop) after(d time.Duration, do func()) { l.at(l.now+max(d, 0), do) }

func (l *loop) at(at time.Duration, do func()) {
	l.asked++
	heap.Push(&l.queue, timedEvent{max(at, l.now), l.asked, do})
}

// run lets everything happen until a moment.
func (l *loop) run(until time.Duration) {
	for len(l.queue) > 0 && l.queue[0].at <= until {
		e := heap.Pop(&l.queue).(timedEvent)
		l.now = e.at
		l.steps++
		e.do()
	}
	l.now = until
}

// note adds to the digest, which differs if two runs do.
func (l *loop) note(what string, n int64) {
	const prime = 1099511628211
	d := l.digest
	for i := range len(what) {
		d = (d ^ uint64(what[i])) * prime
	}
	d = (d ^ uint64(n)) * prime
	l.digest = (d ^ uint64(l.now)) * prime
}

// trace keeps a line of the story, if anybody wants to read it.
func (l *loop) trace(who, format string, args ...any) {
	if !l.tracing {
		return
	}
	for i, a := range args {
		if id, ok := a.(morningai.ID); ok {
			args[i] = l.name(id)
		}
	}
	l.lines = append(l.lines, fmt.Sprintf("%10.4f %-6s %s", l.now.Seconds(), who, fmt.Sprintf(format, args...)))
}

// name is a task's name in the story.
func (l *loop) name(id morningai.ID) string {
	if name, ok := l.names[id]; ok {
		return name
	}
	return id.String()
}

// rename puts the names of tasks into a text that has their ids.
func (l *loop) rename(text string) string {
	if !strings.Contains(text, "-") {
		return text
	}
	var pairs []string
	for id, name := range l.names {
		pairs = append(pairs, id.String(), name)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// between draws a duration, each magnitude as likely as another.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(float64(high-low)*r.Float64()*r.Float64()*r.Float64())
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }
