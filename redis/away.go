package redis

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// On a Cluster each primary may be lost by itself. The partitions on one that does
// not pass a probe which others pass are away: calls leave them out, or refuse what
// concerns them at once, until they pass probes again. On a single server all
// partitions go together, and so they do if no partition passes: that is an outage of
// the whole.
type absence struct {
	list   atomic.Pointer[[]morningai.AwayPart] // replaced as a whole; in order
	mu     sync.Mutex                           // whoever replaces it
	looks  bool                                 // watchAway runs
	probes atomic.Bool                          // a probe for the sake of a call that failed is under way
}

const (
	// probePatience is how long one partition may take to pass a probe while others
	// have passed: a little less than a node waits for the whole.
	probePatience = 300 * time.Millisecond
	watchEvery    = 150 * time.Millisecond
	backAfter     = 3 // probes in a row
)

func (e *Engine) awayParts() []morningai.AwayPart {
	if list := e.absence.list.Load(); list != nil {
		return *list
	}
	return nil
}

// gone is why nothing can be asked of the partition now; nil if it can.
func (p *partition) gone() error {
	for _, a := range p.eng.awayParts() {
		if a.Part == p.n {
			return a.Cause
		}
	}
	return nil
}

// here are the partitions that are not away.
func (e *Engine) here() []*partition {
	if len(e.awayParts()) == 0 {
		return e.parts
	}
	return slices.DeleteFunc(slices.Clone(e.parts), func(p *partition) bool { return p.gone() != nil })
}

// probeAll probes partitions at once.
func (e *Engine) probeAll(ctx context.Context, parts []*partition) []error {
	errs := make([]error, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() { errs[i] = p.probe(ctx) })
	}
	all.Wait()
	return errs
}

// probeApart probes the partitions that are not away, those of one that others
// outlive being away from then on.
func (e *Engine) probeApart(ctx context.Context) error {
	parts := e.here()
	call, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	errs := e.probeAll(call, parts)
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); !slices.Contains(errs, nil) {
		return errs[i]
	}
	var lost []*partition
	var causes []error
	for i, err := range errs {
		if err != nil && ctx.Err() == nil {
			lost, causes = append(lost, parts[i]), append(causes, e.failed(ctx, "probe", err))
		}
	}
	if len(lost) > 0 {
		e.lose(lost, causes)
	}
	return nil
}

// suspect probes after a call has failed, where nobody else may: a node without a
// journal has no detector.
func (e *Engine) suspect(err error) {
	if e.where.mode != modeCluster || err == nil || !e.absence.probes.CompareAndSwap(false, true) {
		return
	}
	e.loops.Go(func() {
		defer e.absence.probes.Store(false)
		ctx, cancel := e.bounded(e.ctx)
		defer cancel()
		_ = e.probeApart(ctx) // that all fail is what callers are told
	})
}

// lose takes partitions out until they pass again.
func (e *Engine) lose(parts []*partition, causes []error) {
	servers := e.primaries(parts)
	e.absence.mu.Lock()
	defer e.absence.mu.Unlock()
	list, gone, why := slices.Clone(e.awayParts()), map[string][]int{}, map[string]error{}
	for i, p := range parts {
		if slices.ContainsFunc(list, func(a morningai.AwayPart) bool { return a.Part == p.n }) {
			continue
		}
		p.mu.Lock()
		p.before = p.data
		p.mu.Unlock()
		list = append(list, morningai.AwayPart{Part: p.n, Server: servers[i], Cause: causes[i]})
		gone[servers[i]], why[servers[i]] = append(gone[servers[i]], p.n), causes[i]
	}
	for _, server := range slices.Sorted(maps.Keys(gone)) {
		e.opt.logger.Warn("a primary of the Cluster is away, the other partitions go on", "server", server, "partitions", gone[server], "cause", why[server])
	}
	slices.SortFunc(list, func(a, b morningai.AwayPart) int { return a.Part - b.Part })
	e.absence.list.Store(&list)
	if !e.absence.looks && e.ctx.Err() == nil {
		e.absence.looks = true
		e.loops.Go(e.watchAway)
	}
}

// watchAway brings partitions back that pass several probes in a row.
func (e *Engine) watchAway() {
	passed := map[int]int{}
	for {
		timer := time.NewTimer(watchEvery + rand.N(watchEvery/3))
		select {
		case <-timer.C:
		case <-e.ctx.Done():
			timer.Stop()
			return
		}
		e.name()
		var parts []*partition
		for _, a := range e.awayParts() {
			parts = append(parts, e.parts[a.Part])
		}
		ctx, cancel := context.WithTimeout(e.ctx, probePatience)
		errs := e.probeAll(ctx, parts)
		cancel()
		back := map[int]bool{}
		for i, p := range parts {
			if errs[i] != nil {
				passed[p.n] = 0
			} else if passed[p.n]++; passed[p.n] >= backAfter {
				back[p.n] = true
				delete(passed, p.n)
			}
		}
		if len(back) > 0 && e.regain(back) {
			return
		}
	}
}

// regain reports whether no partition is away any more.
func (e *Engine) regain(back map[int]bool) bool {
	e.absence.mu.Lock()
	defer e.absence.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(e.awayParts()), func(a morningai.AwayPart) bool { return back[a.Part] })
	e.mu.Lock()
	for _, s := range e.sessions {
		s.brought(1) // what was handed out there just before has to be looked for
	}
	e.absence.list.Store(&list)
	for _, w := range e.waiters { // what wakes them there may have been sent to nobody
		w.wake()
	}
	e.mu.Unlock()
	e.opt.logger.Info("partitions of the Cluster are back", "partitions", slices.Sorted(maps.Keys(back)), "still_away", len(list))
	e.absence.looks = len(list) > 0
	return len(list) == 0
}

// primaries are the addresses of the servers that hold partitions, as the first server
// that answers knows them; "" where none does in time.
func (e *Engine) primaries(parts []*partition) []string {
	out := make([]string, len(parts))
	ctx, cancel := context.WithTimeout(e.ctx, probePatience)
	defer cancel()
	nodes := e.client.Nodes()
	found := make(chan []rueidis.RedisMessage, len(nodes))
	for _, node := range nodes {
		e.calls.Go(func() {
			result, err := e.doOn(ctx, node, node.B().ClusterSlots().Build())
			if err != nil {
				return
			}
			if ranges, err := result.ToArray(); err == nil && len(ranges) > 0 {
				found <- ranges
			}
		})
	}
	select {
	case ranges := <-found:
		for i, p := range parts {
			cmd := e.client.B().Exists().Key(p.base + "meta").Build()
			out[i] = ownerOf(ranges, int64(cmd.Slot()))
		}
	case <-ctx.Done():
	}
	return out
}

// name adds to what is away which server holds it, where that was not known.
func (e *Engine) name() {
	var unnamed []*partition
	for _, a := range e.awayParts() {
		if a.Server == "" {
			unnamed = append(unnamed, e.parts[a.Part])
		}
	}
	if len(unnamed) == 0 {
		return
	}
	servers := e.primaries(unnamed)
	e.absence.mu.Lock()
	defer e.absence.mu.Unlock()
	list := slices.Clone(e.awayParts())
	for i := range list {
		if k := slices.Index(unnamed, e.parts[list[i].Part]); k >= 0 {
			list[i].Server = servers[k]
		}
	}
	e.absence.list.Store(&list)
}

// ownerOf finds who has a slot in an answer to CLUSTER SLOTS.
func ownerOf(ranges []rueidis.RedisMessage, slot int64) string {
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			continue
		}
		from, _ := parts[0].AsInt64()
		to, _ := parts[1].AsInt64()
		server, err := parts[2].ToArray()
		if slot < from || slot > to || err != nil || len(server) < 2 {
			continue
		}
		host, _ := server[0].ToString()
		port, _ := server[1].AsInt64()
		return net.JoinHostPort(host, strconv.FormatInt(port, 10))
	}
	return ""
}

// refuse is what a call is told that concerns the partition while it is away.
func (p *partition) refuse(op string) error {
	cause := p.gone()
	if cause == nil {
		return nil
	}
	var why *morningai.Error
	if errors.As(cause, &why) {
		out := *why
		out.Op = op
		return &out
	}
	return unavailable(op, cause)
}
