package sqlite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

var benchPayload = json.RawMessage(`{"n":1,"text":"` + string(make200()) + `"}`)

func make200() []byte {
	b := make([]byte, 180)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

func openBench(b *testing.B) *sqlite.Engine {
	e, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "tasks.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	})
	return e
}

func benchSpec() morningai.TaskSpec { return morningai.NewTaskSpec("work", benchPayload) }

// BenchmarkEnqueue measures single tasks from a number of producers; every
// acknowledgement is on disk.
func BenchmarkEnqueue(b *testing.B) {
	for _, producers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) {
			e := openBench(b)
			produce(b, producers, "tasks/s", func() error {
				_, err := e.Enqueue(context.Background(), []morningai.TaskSpec{benchSpec()})
				return err
			})
		})
	}
}

// BenchmarkNote measures single notes as large as the tasks of BenchmarkEnqueue,
// new ones and then their replacement, which is what an outcome is.
func BenchmarkNote(b *testing.B) {
	for _, producers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) {
			e := openBench(b)
			produce(b, producers, "notes/s", func() error {
				id, err := morningai.NewID()
				if err != nil {
					return err
				}
				return e.Note(context.Background(), []morningai.Note{{NoteKey: morningai.NoteKey{Kind: 1, Key: id}, Data: benchPayload}})
			})
		})
	}
}

func BenchmarkNoteAgain(b *testing.B) {
	e := openBench(b)
	notes := make([]morningai.Note, b.N)
	for i := range notes {
		id, err := morningai.NewID()
		if err != nil {
			b.Fatal(err)
		}
		notes[i] = morningai.Note{NoteKey: morningai.NoteKey{Kind: 1, Key: id}, Data: benchPayload}
	}
	for part := range slices.Chunk(notes, 1000) {
		if err := e.Note(context.Background(), part); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	produce(b, 256, "notes/s", func() error {
		i := next.Add(1) - 1
		return e.Note(context.Background(), notes[i:i+1])
	})
}

// BenchmarkWithdraw turns a backlog into notes.
func BenchmarkWithdraw(b *testing.B) {
	e := openBench(b)
	fill(b, e, b.N)
	b.ResetTimer()
	for n := 0; n < b.N; {
		got, err := e.Withdraw(context.Background(), 1, 1000)
		if err != nil || len(got) == 0 {
			b.Fatal(n, err)
		}
		n += len(got)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// produce makes b.N calls from a number of goroutines.
func produce(b *testing.B, producers int, unit string, call func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
}

func fill(b *testing.B, e *sqlite.Engine, n int) {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range 4 {
		wg.Go(func() {
			for {
				m := min(500, left.Add(-500)+500)
				if m <= 0 {
					return
				}
				specs := make([]morningai.TaskSpec, m)
				for i := range specs {
					specs[i] = benchSpec()
				}
				if _, err := e.Enqueue(context.Background(), specs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEnqueueBulk(b *testing.B) {
	e := openBench(b)
	b.ResetTimer()
	fill(b, e, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkEndToEnd enqueues, claims and finishes b.N tasks, producers and
// workers at the same time.
func BenchmarkEndToEnd(b *testing.B) {
	e := openBench(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { fill(b, e, b.N) })
	drain(b, e, b.N)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkDrain claims and finishes out of a backlog.
func BenchmarkDrain(b *testing.B) {
	for _, backlog := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(backlog), func(b *testing.B) {
			e := openBench(b)
			fill(b, e, max(backlog, b.N))
			b.ResetTimer()
			drain(b, e, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

func drain(b *testing.B, e *sqlite.Engine, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var done atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			session := morningai.SessionID{1, byte(w)}
			if _, err := e.Beat(context.Background(), morningai.BeatRequest{Session: session, Node: "n", Types: []string{"work"}, LeaseTime: time.Minute}); err != nil {
				b.Error(err)
				return
			}
			for {
				reply, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 128, Wait: time.Second})
				if err != nil {
					return
				}
				reports := make([]morningai.Report, 0, len(reply.Grants))
				for _, g := range reply.Grants {
					now := time.Now()
					reports = append(reports, morningai.Report{Lease: g.Lease, Node: "n", Outcome: morningai.OutcomeSucceeded, Result: json.RawMessage(`1`),
						Attempt: g.Task.Attempt, StartedAt: now, FinishedAt: now})
				}
				if len(reports) > 0 {
					if _, err := e.Finish(context.Background(), reports); err != nil {
						b.Error(err)
						return
					}
				}
				if done.Add(int64(len(reports))) >= int64(n) {
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkOpenMillion opens a file with a million queued tasks.
func BenchmarkOpenMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tasks.db")
	open := func() *sqlite.Engine {
		e, err := sqlite.Open(context.Background(), path)
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
	shut := func(e *sqlite.Engine) {
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
	e := open()
	fill(b, e, 1_000_000)
	shut(e)
	for b.Loop() {
		shut(open())
	}
}
