package redis

import (
	"context"
	"time"
)

// doubt notes that a claim is not under way any more, but may still be applied.
func (s *session) doubt(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.inflight[seq]; ended != nil {
		close(ended)
		s.inflight[seq] = nil
	}
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
