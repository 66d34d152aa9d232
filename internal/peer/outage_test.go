package peer_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// ownEngine is as an engine with a journal is to its peers: it has something of
// its own only while what it shares is away.
type ownEngine struct {
	morningai.Engine
	away chan struct{} // closed when it is
}

func (e *ownEngine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if !morningai.IsOnlyHere(ctx) {
		return e.Engine.Claim(ctx, req)
	}
	over := time.NewTimer(req.Wait)
	defer over.Stop()
	select {
	case <-e.away:
		return e.Engine.Claim(ctx, req)
	case <-over.C:
		return morningai.ClaimReply{}, nil
	case <-ctx.Done():
		return morningai.ClaimReply{}, ctx.Err()
	}
}

// A peer is known before the outage, and has the tasks as soon as it begins.
func TestPeerWaitsForAnOutage(t *testing.T) {
	t.Parallel()
	engine := &ownEngine{Engine: openEngine(t), away: make(chan struct{})}
	n := serveOn(t, engine, time.Minute)
	app, _ := worker(t, n)
	morningai.Handle(app, "job", func(context.Context, int) (int, error) { return 1, nil })
	run(t, app)
	id := n.submit("job")
	for known := false; !known; {
		why, err := n.app.Why(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		known = !slices.ContainsFunc(why.Reasons, func(r morningai.Reason) bool { return r.Code == morningai.ReasonNoLiveHandler })
	}
	n.more(1) // at least one whole wait in vain
	if now := n.until(id, func(*morningai.Task) bool { return true }); now.State != morningai.StateQueued {
		t.Errorf("%+v", now)
	}
	close(engine.away)
	if end := n.wait(id); end.State != morningai.StateSucceeded {
		t.Errorf("%+v", end)
	}
}
