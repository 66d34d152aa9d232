package morningai

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"
)

// witness hands out tasks and remembers of each by which reply, until it has
// finished. A beat that names a reply as received, and does not hold what it
// brought, would have the engine hand that out again.
type witness struct {
	Engine
	mu       sync.Mutex
	seq      int64
	left     int
	open     map[Lease]int64
	at, most int // claims under way
	broken   int
	beats    int
	done     chan struct{}
}

func (*witness) Capabilities() Capabilities { return Capabilities{} }

func (f *witness) Claim(ctx context.Context, req ClaimRequest) (ClaimReply, error) {
	f.mu.Lock()
	f.seq++
	f.at++
	f.most = max(f.most, f.at)
	reply := ClaimReply{Seq: f.seq}
	n := min(f.left, req.N)
	f.left -= n
	for i := range n {
		lease := Lease{Claim: f.seq, Lease: int64(i + 1)}
		f.open[lease] = f.seq
		reply.Grants = append(reply.Grants, Grant{Lease: lease,
			Task: Task{Type: "noop", Timeout: time.Minute, MaxAttempts: 1, Payload: json.RawMessage(`1`)}})
	}
	f.mu.Unlock()
	for range 100 { // others have their turn while the answer is on its way
		runtime.Gosched()
	}
	defer func() {
		f.mu.Lock()
		f.at--
		f.mu.Unlock()
	}()
	if n == 0 && req.Wait > 0 {
		<-ctx.Done()
		return ClaimReply{}, ctx.Err()
	}
	return reply, nil
}

func (f *witness) Finish(_ context.Context, reports []Report) ([]Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range reports {
		delete(f.open, r.Lease)
	}
	if f.left == 0 && len(f.open) == 0 {
		select {
		case <-f.done:
		default:
			close(f.done)
		}
	}
	return make([]Verdict, len(reports)), nil
}

func (f *witness) Beat(_ context.Context, req BeatRequest) (BeatReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats++
	held := map[Lease]bool{}
	for _, l := range req.Holding {
		held[l] = true
	}
	for l, seq := range f.open {
		if seq <= req.Through && !held[l] {
			f.broken++
		}
	}
	return BeatReply{}, nil
}

// TestTwoClaims: much work brings a second claim under way, and no beat ever names
// a reply as received whose tasks the worker has not taken over.
func TestTwoClaims(t *testing.T) {
	t.Parallel()
	f := &witness{left: 20_000, open: map[Lease]int64{}, done: make(chan struct{})}
	app := New(f, WithConcurrency(256), WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	Handle(app, "noop", func(context.Context, int) (any, error) { return nil, nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := app.crew.workers[0]
	for finished := false; !finished; {
		select {
		case <-f.done:
			finished = true
		default:
			if err := w.beat(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if err := app.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if f.broken > 0 {
		t.Errorf("%d times in %d beats a task was on its way and would have been handed out again", f.broken, f.beats)
	}
	if f.most != 2 {
		t.Errorf("at most %d claims were under way at once, want 2", f.most)
	}
}
