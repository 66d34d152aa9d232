package morningai

import (
	"cmp"
	"slices"
)

// queueShares divides claims among weighted queues by smooth weighted round
// robin, the way nginx spreads requests over upstream servers: in any run of
// as many hand-outs as the weights add up to, each queue has its weight's
// worth of turns, spread evenly. Not safe for concurrent use.
type queueShares struct {
	queues []weightedQueue
	total  int
}

type weightedQueue struct {
	name    string
	weight  int
	current int
	turns   int // of the claim being made up
}

func newQueueShares(weights map[string]int) *queueShares {
	s := &queueShares{}
	for name, weight := range weights {
		s.queues = append(s.queues, weightedQueue{name: name, weight: weight})
		s.total += weight
	}
	slices.SortFunc(s.queues, func(a, b weightedQueue) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.name, b.name))
	})
	return s
}

// names returns the queues, heaviest first.
func (s *queueShares) names() []string {
	var names []string
	for i := range s.queues {
		names = append(names, s.queues[i].name)
	}
	return names
}

// next returns how the next n tasks are to be divided; nil if no queue was
// named, which means all of them. Queues with more turns come first.
func (s *queueShares) next(n int) []QueueShare {
	if len(s.queues) == 0 {
		return nil
	}
	rounds, rest := n/s.total, n%s.total
	for i := range s.queues {
		s.queues[i].turns = rounds * s.queues[i].weight
	}
	for range rest {
		best := 0
		for i := range s.queues {
			s.queues[i].current += s.queues[i].weight
			if s.queues[i].current > s.queues[best].current {
				best = i
			}
		}
		s.queues[best].current -= s.total
		s.queues[best].turns++
	}
	out := make([]QueueShare, len(s.queues))
	for i := range s.queues {
		out[i] = QueueShare{Name: s.queues[i].name, Share: s.queues[i].turns}
	}
	slices.SortStableFunc(out, func(a, b QueueShare) int { return cmp.Compare(b.Share, a.Share) })
	return out
}
