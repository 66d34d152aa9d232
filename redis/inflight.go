package redis

import (
	"context"
	"time"
)

// doubt notes that a claim is not under way any more, but may still be applied in a
// partition.
func (s *session) doubt(seq int64, part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.inflight[seq]; ended != nil {
		close(ended)
		delete(s.inflight, seq)
		s.doubts[seq] = part
	}
}

// free is the number up to which no claim can bring grants of a partition any more, of
// those up to one that are not under way: what is in doubt in another partition, which
// may be away for long, is of no concern to this one.
func (s *session) free(part int, through int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq, p := range s.doubts {
		if p == part && seq <= through {
			through = seq - 1
		}
	}
	return through
}

// settleFor leaves half of the time for the beat itself.
func (s *session) settleFor(ctx context.Context, through int64) int64 {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	return s.settled(ctx, through)
}
