package redis

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// workLanes is how many calls may be under way at once, the second only for what
// fills one: Redis works on it while the answer to the other is read. Fewer tasks
// share a call, which costs Redis less than two.
const (
	workLanes = 2
	fullCall  = batchTasks / 2
)

// worker sends outcomes, checkpoints and claims. A call takes whatever is
// waiting: the outcomes of the last batch and the claim of the next travel
// together.
type worker struct {
	part  *partition
	lanes []*lane

	mu     sync.Mutex
	reads  []*workJob // reports and checkpoints
	claims []*workJob
	wakes  [workLanes]chan struct{}
}

// workJob is one caller's part of a call. Its fields change hands with done.
type workJob struct {
	reports, points []string // packed
	ids             []string // of the reports
	bytes           int
	claim           *claimArgs
	ctx             context.Context // of the caller; a job not sent yet is dropped with it
	done            chan struct{}
	over            chan struct{} // closed when its call cannot be applied any more

	verdicts string // two letters a report, one a checkpoint
	compact  string // of the answer to the claim
	reply    []rueidis.RedisMessage
	err      error
}

func newWorker(p *partition) *worker {
	w := &worker{part: p}
	for i := range workLanes {
		w.wakes[i] = make(chan struct{}, 1)
		w.lanes = append(w.lanes, newLane(p))
	}
	return w
}

func (w *worker) run() {
	for i, l := range w.lanes {
		w.part.eng.loops.Go(func() { w.loop(l, i*fullCall, w.wakes[i]) })
	}
}

func (w *worker) add(j *workJob) {
	w.mu.Lock()
	if j.claim != nil {
		w.claims = append(w.claims, j)
	} else {
		w.reads = append(w.reads, j)
	}
	w.mu.Unlock()
	for _, wake := range w.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// do sends a job and waits for its answer as long as the context lasts.
func (w *worker) do(ctx context.Context, j *workJob) error {
	j.ctx, j.done, j.over = ctx, make(chan struct{}), make(chan struct{})
	w.add(j)
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the jobs of the next call: as many outcomes and checkpoints as
// fit, and one claim; none if there are fewer outcomes than least.
func (w *worker) take(least int) []*workJob {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := 0
	for i := 0; i < len(w.reads) && waiting < least; i++ {
		waiting += len(w.reads[i].reports)
	}
	if waiting < least {
		return nil
	}
	var out []*workJob
	items, bytes, n := 0, 0, 0
	for n < len(w.reads) {
		j := w.reads[n]
		items, bytes = items+len(j.reports)+len(j.points), bytes+j.bytes
		if n > 0 && (items > batchTasks || bytes > batchBytes) {
			break
		}
		out = append(out, j)
		n++
	}
	w.reads = w.reads[n:]
	if len(w.claims) > 0 {
		out = append(out, w.claims[0])
		w.claims = w.claims[1:]
	}
	return out
}

// clearUp is how often a lane with a claim in doubt asks what became of it.
const clearUp = 200 * time.Millisecond

// loop sends calls over a lane whenever at least so many outcomes are waiting, or,
// with 0, anything.
func (w *worker) loop(l *lane, least int, wake <-chan struct{}) {
	for {
		for jobs := w.take(least); len(jobs) > 0; jobs = w.take(least) {
			w.send(l, jobs)
		}
		var doubt <-chan time.Time
		if l.doubtful() {
			doubt = time.After(clearUp)
		}
		select {
		case <-wake:
		case <-doubt:
			ctx, cancel := context.WithTimeout(w.part.eng.ctx, w.part.eng.opt.timeout)
			_, _ = l.call(ctx, scriptProbe, nil, nil) // if it fails the doubt stays
			cancel()
		case <-w.part.eng.idle:
			return
		}
	}
}

func (w *worker) send(l *lane, jobs []*workJob) {
	var outcomes outcomes
	var points []string
	var claim *workJob
	kept := jobs[:0]
	for _, j := range jobs {
		if err := j.ctx.Err(); err != nil {
			j.err = err
			close(j.done)
			close(j.over)
			continue
		}
		kept = append(kept, j)
		outcomes.add(j.ids, j.reports)
		points = append(points, j.points...)
		if j.claim != nil {
			claim = j
		}
	}
	if jobs = kept; len(jobs) == 0 {
		return
	}
	reports := outcomes.n
	args := make([]string, 0, 16+2*reports+2*len(outcomes.groups)+len(points))
	args = append(args, strconv.Itoa(reports), strconv.Itoa(len(points)), "0", strconv.Itoa(len(outcomes.groups)))
	args = append(outcomes.args(args), points...)
	var keys []string
	only := ""
	if claim != nil {
		only = claim.claim.lineage
		args[2] = "1"
		if w.part.eng.clock.apart.Load() {
			args[2] = "2"
		}
		args = append(args, claim.claim.args()...)
		keys = claim.claim.keys(w.part)
	}
	var reply []rueidis.RedisMessage
	send := func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), w.part.eng.opt.timeout)
		defer cancel()
		if reply, err = l.numbered(ctx, scriptWork, only, keys, args); err == nil {
			err = w.answer(jobs, &outcomes, len(points), reply)
		}
		return err
	}
	var err error
	switch items := reports + len(points); {
	case len(jobs) == 1 && items == 1:
		err = w.part.alone(send)
	default:
		err = send()
		switch {
		case err == nil || items == 0 || !w.part.poisoned(err):
		case len(jobs) > 1:
			w.send(l, jobs[:len(jobs)/2:len(jobs)/2])
			w.send(l, jobs[len(jobs)/2:])
			return
		default:
			err = errPoison // in one of its items: its caller halves it
		}
	}
	for _, j := range jobs {
		j.err = err
		close(j.done)
		if j.claim != nil && inDoubt(err) {
			l.settled(func() { close(j.over) })
		} else {
			close(j.over)
		}
	}
	if err == nil {
		w.part.wakeLines(reply[4])
	}
}

// answer gives each job its part of the reply.
func (w *worker) answer(jobs []*workJob, outcomes *outcomes, points int, reply []rueidis.RedisMessage) error {
	reports := outcomes.n
	compact, err := reply[0].ToString()
	if err != nil {
		return err
	}
	if strings.HasPrefix(compact, "-") && reports+points > 0 || len(compact) < 2*reports+points || len(reply) < 6 {
		return errCorrupt
	}
	first, second := outcomes.inOrder(compact[:2*reports]), compact[2*reports:2*reports+points]
	for _, j := range jobs {
		j.verdicts = first[:2*len(j.reports)] + second[:len(j.points)]
		first, second = first[2*len(j.reports):], second[len(j.points):]
		if j.claim != nil {
			j.compact, j.reply = compact[2*reports+points:], reply // read by the caller, while the next call is under way
		}
	}
	return nil
}

// wakeLines leaves tokens for the lines that a script has made ready without having
// their lists at hand. Idle nodes look every few seconds anyway.
func (p *partition) wakeLines(m rueidis.RedisMessage) {
	lines, err := m.AsStrSlice()
	if err != nil {
		return
	}
	var keys []string
	for ; len(lines) >= 3; lines = lines[3:] {
		if lines[2] != "q" {
			keys = append(keys, p.wakeKey(lines[1]))
		}
		if lines[2] != "t" {
			keys = append(keys, p.lineKey(lines[1], lines[0]))
		}
	}
	p.leaveTokens(uniqueStrings(keys))
}

// leaveTokens puts one token into each list.
func (p *partition) leaveTokens(keys []string) {
	e := p.eng
	ctx, cancel := context.WithTimeout(context.Background(), e.opt.timeout)
	defer cancel()
	for _, k := range keys {
		if _, err := e.do(ctx, e.client.B().Rpush().Key(k).Element("1").Build()); err != nil {
			return
		}
		if _, err := e.do(ctx, e.client.B().Ltrim().Key(k).Start(-1).Stop(-1).Build()); err != nil {
			return
		}
	}
}

var verdictErrors = map[byte]error{
	's': &morningai.Error{Code: morningai.CodeStale, Detail: "the claim was superseded", Hint: "the task runs, or ran, elsewhere"},
	'n': &morningai.Error{Code: morningai.CodeNotFound, Detail: "there is no such task"},
}
