package backup

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

// targets are the engines that a backup can be put into.
func targets(t *testing.T) map[string]morningai.Engine {
	server := redistest.Start(t)
	shared := must[*redis.Engine](t)(redis.Open(t.Context(), server.URL()))
	t.Cleanup(func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]morningai.Engine{"sqlite": embedded(t, t.TempDir()), "redis": shared}
}

// What comes back is what was there; what ran is queued and says why; what had
// ended is never handed out.
func TestRestoreBringsEverythingBack(t *testing.T) {
	for from, source := range targets(t) {
		s := fill(t, source)
		path, before := saved(t, source, nil), records(t, source)
		for to, target := range targets(t) {
			t.Run(from+" to "+to, func(t *testing.T) {
				journal := embedded(t, t.TempDir())
				done := must[*Restored](t)(Restore(t.Context(), path, nil, into(Target{Engine: target, Incidents: keepsIncidents(journal)})))
				if done.Added != int64(s.count)+1 || done.Requeued != 2 || done.Queues != 2 || done.Incidents != 1 || done.Generation != 1 {
					t.Errorf("the restore says %+v", done)
				}
				after := records(t, target)
				if len(after) != len(before) {
					t.Errorf("%d records, want %d", len(after), len(before))
				}
				for id, was := range before {
					if is := after[id]; id != s.running && id != s.cancelling && flat(t, is) != flat(t, was) {
						t.Errorf("restored\n%+v\nwant\n%+v", is, was)
					}
				}
				lost := after[s.running]
				if lost.Task.State != morningai.StateQueued || len(lost.Attempts) != 1 || lost.Attempts[0].Outcome != morningai.OutcomeLost ||
					lost.Attempts[0].Error == nil || lost.Attempts[0].Error.Code != ErrorCodeRestored || string(lost.Task.Progress) != `{"half": true}` {
					t.Errorf("the task that ran is %+v", lost)
				}
				if over := after[s.cancelling].Task; over.State != morningai.StateCanceled {
					t.Errorf("the task that was being canceled is %s", over.State)
				}
				if got, want := queueNames(t, target), queueNames(t, source); got["mail"] != want["mail"] || got["slow"] != want["slow"] {
					t.Errorf("queues are %+v, want %+v", got, want)
				}
				incidents := must[[]morningai.Incident](t)(resilient.Incidents(t.Context(), journal))
				if len(incidents) != 1 || incidents[0].Cause != someIncident.Cause || incidents[0].EndedAt.IsZero() || incidents[0].Backlog != 0 {
					t.Errorf("incidents are %+v", incidents)
				}
				var ran []morningai.ID
				for _, g := range join(t, target, 2).claim(100) {
					ran = append(ran, g.Task.ID)
					if g.Task.ID == s.running && (g.Lease.Claim != 2 || g.Task.Attempt != 2) {
						t.Errorf("the task that ran is handed out as %+v", g.Lease)
					}
				}
				if want := sorted([]morningai.ID{s.running, s.queued, s.keyed}); !slices.Equal(sorted(ran), want) {
					t.Errorf("%v run, want %v", ran, want)
				}
				known := spec(8)
				known.ID = s.deleted
				again := must[[]morningai.Receipt](t)(target.Enqueue(t.Context(), []morningai.TaskSpec{known}))
				if !errors.Is(again[0].Err, morningai.ErrConflict) {
					t.Errorf("the id of a deleted task is taken again: %v", again[0].Err)
				}
			})
		}
	}
}

func TestRestoreRefusesWhatIsNotEmpty(t *testing.T) {
	source := embedded(t, t.TempDir())
	fill(t, source)
	path := saved(t, source, nil)
	paused := true
	for name, make := range map[string]func(morningai.Engine){
		"a task": func(e morningai.Engine) { enqueue(t, e, spec(9)) },
		"a tombstone": func(e morningai.Engine) {
			id := enqueue(t, e, spec(9))[0]
			must[[]morningai.CommandResult](t)(e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandDelete, ID: id}}))
		},
		"settings": func(e morningai.Engine) {
			must[morningai.QueueConfig](t)(e.SetQueue(t.Context(), "q", morningai.QueueChange{Paused: &paused}))
		},
	} {
		for kind, target := range targets(t) {
			make(target)
			before := records(t, target)
			if _, err := Restore(t.Context(), path, nil, into(Target{Engine: target})); !errors.Is(err, morningai.ErrConflict) {
				t.Errorf("%s with %s: %v", kind, name, err)
			}
			if after := records(t, target); len(after) != len(before) {
				t.Errorf("%s with %s has %d records after the refusal, want %d", kind, name, len(after), len(before))
			}
			if _, err := Restore(t.Context(), path, nil, into(Target{Engine: target, Merge: true})); err != nil {
				t.Errorf("%s with %s, told to: %v", kind, name, err)
			}
		}
	}
}

// An old backup over newer data takes nothing back, and whoever does it twice has
// done it once.
func TestMergeMovesNothingBackwards(t *testing.T) {
	for kind, e := range targets(t) {
		t.Run(kind, func(t *testing.T) {
			ids := enqueue(t, e, spec(0), spec(1), spec(2))
			path := saved(t, e, nil)
			crew := join(t, e, 1)
			crew.finish(crew.claim(1)[0], morningai.OutcomeSucceeded)
			must[[]morningai.CommandResult](t)(e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandDelete, ID: ids[1]}}))
			before := records(t, e)
			for generation := range int64(2) {
				done := must[*Restored](t)(Restore(t.Context(), path, nil, into(Target{Engine: e, Merge: true})))
				if done.Kept != 3 || done.Added+done.Updated+done.Requeued != 0 || done.Generation != generation+1 {
					t.Errorf("the restore says %+v", done)
				}
			}
			after := records(t, e)
			for id, was := range before {
				if flat(t, after[id]) != flat(t, was) {
					t.Errorf("%+v became %+v", was, after[id])
				}
			}
			if state := after[ids[0]].Task.State; state != morningai.StateSucceeded || len(after) != len(before) {
				t.Errorf("the task that had ended is %s, and there are %d records", state, len(after))
			}
		})
	}
}

// failing is an engine whose disk fails after some imports.
type failing struct {
	*sqlite.Engine
	left int
}

var errDisk = errors.New("the disk fails")

func (f *failing) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if f.left--; f.left < 0 {
		return nil, errDisk
	}
	return f.Engine.Import(ctx, records)
}

// A restore that was interrupted goes on when it is repeated. Until then nobody
// works on what it has left, and no other backup gets in between.
func TestRestoreIsRepeatedAfterAnInterruption(t *testing.T) {
	source := embedded(t, t.TempDir())
	for range 3 {
		var specs []morningai.TaskSpec
		for n := range morningai.MaxBatch {
			specs = append(specs, spec(n))
		}
		enqueue(t, source, specs...)
	}
	path := saved(t, source, nil)
	enqueue(t, source, spec(0))
	other := saved(t, source, nil)

	folder := t.TempDir()
	broken := &failing{embedded(t, folder), 2}
	if _, err := Restore(t.Context(), path, nil, into(Target{Engine: broken})); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if n := len(records(t, broken)); n != 2*morningai.MaxBatch {
		t.Fatalf("%d records were restored before the disk failed", n)
	}
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), filepath.Join(folder, "tasks.db")); !errors.Is(err, morningai.ErrConflict) {
		t.Errorf("what is half restored opens: %v", err)
	}
	again := embedded(t, folder, sqlite.WithUnfinishedRestore())
	for _, merge := range []bool{false, true} {
		if _, err := Restore(t.Context(), other, nil, into(Target{Engine: again, Merge: merge})); !errors.Is(err, morningai.ErrConflict) {
			t.Errorf("another backup into what is half restored: %v", err)
		}
	}
	done := must[*Restored](t)(Restore(t.Context(), path, nil, into(Target{Engine: again})))
	if done.Added != morningai.MaxBatch || done.Kept != 2*morningai.MaxBatch {
		t.Errorf("the second try says %+v", done)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(records(t, embedded(t, folder))); n != 3*morningai.MaxBatch {
		t.Errorf("%d records", n)
	}
}

// The generation goes over that of the backup and over that of the target.
func TestRestoreRaisesTheGeneration(t *testing.T) {
	for kind, source := range targets(t) {
		if err := source.(morningai.Restorer).SetRestoreState(t.Context(), morningai.RestoreState{Generation: 7}); err != nil {
			t.Fatal(err)
		}
		enqueue(t, source, spec(0))
		path := saved(t, source, nil)
		for other, target := range targets(t) {
			for _, want := range []int64{8, 9} {
				done := must[*Restored](t)(Restore(t.Context(), path, nil, into(Target{Engine: target, Merge: true})))
				state := must[morningai.RestoreState](t)(target.(morningai.Restorer).RestoreState(t.Context()))
				if done.Generation != want || state.Generation != want || state.Unfinished != 0 {
					t.Errorf("%s to %s: generation %d, %+v; want %d", kind, other, done.Generation, state, want)
				}
			}
		}
	}
}

// A retention that is over is over after a restore too: nothing comes back to life.
func TestRestoreKeepsRetention(t *testing.T) {
	source := embedded(t, t.TempDir())
	s := fill(t, source)
	path := saved(t, source, nil)
	for kind, target := range targets(t) {
		must[*Restored](t)(Restore(t.Context(), path, nil, into(Target{Engine: target})))
		got := records(t, target)[s.succeeded]
		if got.Retention == nil || *got.Retention != 48*time.Hour || string(got.Steps["step"]) != "1.0" || len(got.Logs) != 1 {
			t.Errorf("%s: the task is %+v", kind, got)
		}
	}
}
