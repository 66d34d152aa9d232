package sqlite

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// Kinds of traffic that Stats counts.
const (
	trafficEnqueued = iota
	trafficSucceeded
	trafficRetried
	trafficFailed
	trafficCanceled
	trafficKinds
)

// traffic counts by the second for the last minute.
type traffic struct {
	seconds [60]struct {
		at int64
		n  [trafficKinds]int64
	}
}

func (c *traffic) add(now time.Time, n [trafficKinds]int64) {
	if n == ([trafficKinds]int64{}) {
		return
	}
	s := now.Unix()
	slot := &c.seconds[s%60]
	if slot.at != s {
		slot.at, slot.n = s, [trafficKinds]int64{}
	}
	for i := range n {
		slot.n[i] += n[i]
	}
}

func (c *traffic) sum(now time.Time) (n [trafficKinds]int64) {
	for i := range c.seconds {
		if age := now.Unix() - c.seconds[i].at; age >= 0 && age < 60 {
			for k := range n {
				n[k] += c.seconds[i].n[k]
			}
		}
	}
	return n
}

// Stats implements morningai.Engine. Its cost grows with the number of queues
// and types, not of tasks.
func (e *Engine) Stats(ctx context.Context) (morningai.Stats, error) {
	now := e.now()
	out := morningai.Stats{States: map[morningai.State]int64{}, Fresh: morningai.FreshLive, AsOf: now, Queues: []morningai.QueueInfo{}}
	err := e.read(ctx, "stats", func(r *reader) error {
		heads := map[string][]int64{}
		infos := map[string]*morningai.QueueInfo{}
		e.mu.Lock()
		for name, q := range e.queues {
			info := &morningai.QueueInfo{QueueConfig: q.config, Counts: zeroCounts(true)}
			info.Counts[morningai.StateRunning] = int64(q.running)
			info.Counts[morningai.StateQueued] = -int64(q.running)
			if q.stored || e.used(name) {
				infos[name] = info
			}
			heads[name] = q.heads()
		}
		for key, n := range e.counts {
			info := infos[key.line.queue]
			if info == nil {
				info = &morningai.QueueInfo{QueueConfig: morningai.QueueConfig{Name: key.line.queue}, Counts: zeroCounts(true)}
				infos[key.line.queue] = info
			}
			info.Counts[key.status.state()] += n
			if key.status == stRetrying {
				info.Counts[morningai.StateRetrying] += n
			}
		}
		out.Sessions = e.sessionList()
		sum := e.traffic.sum(now)
		e.mu.Unlock()
		out.Throughput = morningai.Throughput{Window: time.Minute, Enqueued: sum[trafficEnqueued], Succeeded: sum[trafficSucceeded],
			Retried: sum[trafficRetried], Failed: sum[trafficFailed], Canceled: sum[trafficCanceled]}
		out.States = zeroCounts(false)
		for name, info := range infos {
			for _, seq := range heads[name] {
				oldest, err := e.rowBySeq(r.bySeq, seq)
				if err != nil {
					return err
				}
				if oldest != nil && oldest.status == stQueued && (info.OldestQueuedAt.IsZero() || oldest.created < micros(info.OldestQueuedAt)) {
					info.OldestQueuedAt = timeOf(oldest.created)
				}
			}
			for state := range out.States {
				out.States[state] += info.Counts[state]
			}
			out.Queues = append(out.Queues, *info)
		}
		return nil
	})
	if err != nil {
		return morningai.Stats{}, err
	}
	slices.SortFunc(out.Queues, func(a, b morningai.QueueInfo) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func zeroCounts(retrying bool) map[morningai.State]int64 {
	m := map[morningai.State]int64{}
	for _, s := range morningai.States() {
		m[s] = 0
	}
	if retrying {
		m[morningai.StateRetrying] = 0
	}
	return m
}

// heads returns the first ready task of every priority's oldest run.
func (q *queue) heads() []int64 {
	var out []int64
	for prio := range q.runs {
		least, any := int64(0), false
		for _, k := range q.runs[prio] {
			if seq, ok := k.head(); ok && (!any || seq < least) {
				least, any = seq, true
			}
		}
		if any {
			out = append(out, least)
		}
	}
	return out
}

// used reports whether any saved line belongs to the queue. Engine.mu is held.
func (e *Engine) used(name string) bool {
	for _, l := range e.names.all() {
		if l.queue == name && e.names.isSaved(l) {
			return true
		}
	}
	return false
}
