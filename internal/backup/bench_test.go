package backup

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/sqlite"
)

// Each operation is one task:
//
//	go test ./internal/backup -run '^$' -bench . -benchtime 1000000x
//
// tells how long a million of them take. MB is what the process has taken from the
// system, the engine and the producers of the tasks included.

// benchmarked are engines to move tasks into.
func benchmarked(b *testing.B) map[string]func() morningai.Engine {
	return map[string]func() morningai.Engine{
		"sqlite": func() morningai.Engine {
			e, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"), sqlite.WithSync(sqlite.SyncNormal)) // as the command does
			return opened(b, e, err)
		},
		"redis": func() morningai.Engine {
			e, err := redis.Open(b.Context(), redistest.Start(b).URL(), redis.WithTimeout(20*time.Second))
			return opened(b, e, err)
		},
	}
}

func opened(b *testing.B, e morningai.Engine, err error) morningai.Engine {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

// written is a backup of n tasks, half of them ended.
func written(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "tasks.backup")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w, err := newWriter(f)
	if err != nil {
		b.Fatal(err)
	}
	w.emitJSON(kindQueues, []int{})
	w.emitJSON(kindIncidents, []int{})
	from := time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
	for i := range n {
		at := from.Add(time.Duration(i) * time.Millisecond / 2)
		id, err := morningai.NewID()
		if err != nil {
			b.Fatal(err)
		}
		r := morningai.Record{Task: morningai.Task{ID: id, Type: "work", Queue: "default", Priority: 5, State: morningai.StateQueued,
			MaxAttempts: 25, Timeout: time.Minute, CreatedAt: at, Life: 1, Version: 1,
			Payload: fmt.Appendf(nil, `{"to":"user%d@example.com","subject":"number %d","body":"some text that is much the same %x"}`, i, i%1000, i*7919)}}
		t := &r.Task
		if t.TraceID = t.ID; i%2 == 0 {
			t.State, t.Version, t.Attempt, t.StartedAt, t.FinishedAt = morningai.StateSucceeded, 3, 1, at, at.Add(time.Second)
			t.Result, r.Claim, r.Lease, r.Node, r.Settled = t.Payload, 1, int64(i), "node", morningai.OutcomeSucceeded
			r.Attempts = []morningai.Attempt{{Number: 1, Life: 1, Node: "node", StartedAt: at, FinishedAt: t.FinishedAt, Outcome: morningai.OutcomeSucceeded}}
		}
		if err := w.add(&r); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.finish(&Manifest{StartedAt: from, FinishedAt: from}, nil); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func memory(b *testing.B) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MB")
}

func BenchmarkRestore(b *testing.B) {
	for kind, open := range benchmarked(b) {
		b.Run(kind, func(b *testing.B) {
			path, e := written(b, b.N), open()
			b.ResetTimer()
			if _, err := Restore(b.Context(), path, nil, into(Target{Engine: e})); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			memory(b)
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	for kind, open := range benchmarked(b) {
		b.Run(kind, func(b *testing.B) {
			path, e := written(b, b.N), open()
			if _, err := Restore(b.Context(), path, nil, into(Target{Engine: e})); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			if _, err := WriteFile(b.Context(), path+"2", false, nil, func(w io.Writer) error {
				_, err := Create(context.Background(), Source{Engine: e}, w)
				return err
			}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			memory(b)
		})
	}
}
