package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, lease time.Duration) *Keeper {
	t.Helper()
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	k := New(engine, lease, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		k.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func TestTicketsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := ticket{lease: morningai.Lease{ID: morningai.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), Claim: rapid.Int64().Draw(t, "claim"), Lease: rapid.Int64().Draw(t, "lease")},
			session: morningai.SessionID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "session")), here: rapid.Bool().Draw(t, "here"),
			attempt: rapid.IntRange(0, 1<<30).Draw(t, "attempt"), node: rapid.StringN(0, 40, morningai.MaxName).Draw(t, "node")}
		in.lease.ID[0], in.session[0] = 1, 1 // neither is zero
		id := in.String()
		out, ok := readTicket(id)
		if !ok || out != in || !morningai.ValidName(strings.ReplaceAll(id, "-", "_")[:min(len(id), morningai.MaxName)]) {
			t.Fatalf("%+v came back as %+v, %v", in, out, ok)
		}
		if cut := rapid.IntRange(0, 66).Draw(t, "cut"); cut < 66 && len(id) > cut {
			if _, ok := readTicket(id[:cut]); ok {
				t.Fatalf("the first %d characters are read", cut)
			}
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	k := open(t, time.Hour)
	poll := Poll{Types: []string{"job"}}
	for n := range MaxWorkers {
		if _, err := k.enter(Key{Name: fmt.Sprint(n)}, &poll); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Poll(t.Context(), Key{Name: "more"}, poll); morningai.CodeOf(err) != CodeTooMany {
		t.Errorf("%v", err)
	}
	if _, err := k.Poll(t.Context(), Key{Name: "7"}, poll); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if _, err := k.Poll(t.Context(), Key{Name: "7"}, Poll{Leave: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Poll(t.Context(), Key{Name: "more"}, poll); err != nil {
		t.Errorf("once one has left: %v", err)
	}
}

// When the process itself stood still it could hear nothing, and gives up nobody.
func TestNobodyIsGivenUpAfterAStandstill(t *testing.T) {
	k := open(t, time.Hour)
	if _, err := k.engine.Enqueue(t.Context(), []morningai.TaskSpec{morningai.NewTaskSpec("job", nil)}); err != nil {
		t.Fatal(err)
	}
	key := Key{Name: "w"}
	out, err := k.Poll(t.Context(), key, Poll{Types: []string{"job"}, N: 1})
	if err != nil || len(out.Claims) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	k.mu.Lock()
	w := k.workers[key]
	k.mu.Unlock()
	later := time.Now().Add(2 * time.Hour)
	if silent, overdue := w.review(later, true); silent || len(overdue) != 0 {
		t.Errorf("after a standstill: %v, %v", silent, overdue)
	}
	if silent, overdue := w.review(later.Add(time.Minute), false); silent || len(overdue) != 0 {
		t.Errorf("a minute later: %v, %v", silent, overdue)
	}
	if silent, overdue := w.review(later.Add(2*time.Hour), false); !silent || len(overdue) != 1 {
		t.Errorf("after another lease: %v, %v", silent, overdue)
	}
}

func TestClosedKeeper(t *testing.T) {
	k := open(t, time.Hour)
	waiting := make(chan error, 1)
	go func() {
		_, err := k.Poll(context.Background(), Key{Name: "w"}, Poll{Types: []string{"job"}, Wait: time.Hour})
		waiting <- err
	}()
	for known := 0; known == 0; {
		stats, err := k.engine.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		known = len(stats.Sessions)
	}
	k.Close()
	if err := <-waiting; !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := k.Poll(t.Context(), Key{Name: "w"}, Poll{Types: []string{"job"}}); !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("%v", err)
	}
	if stats, err := k.engine.Stats(t.Context()); err != nil || len(stats.Sessions) != 0 {
		t.Errorf("%+v, %v", stats.Sessions, err)
	}
}
