package backup

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

func keepLong(*morningai.Record) time.Duration { return 24 * time.Hour }

func mover(from, to morningai.Engine) *Mover {
	return &Mover{From: Source{Engine: from}, To: Target{Engine: to}, Name: "migrate", Keep: keepLong}
}

// There and back: both sides are the same, and the source is as it was.
func TestMigrateThereAndBack(t *testing.T) {
	for first, second := range map[string]string{"sqlite": "redis", "redis": "sqlite"} {
		t.Run(first, func(t *testing.T) {
			a, b, c := targets(t)[first], targets(t)[second], targets(t)[first]
			s := fill(t, a)
			before := records(t, a)
			plan := must[*Migration](t)(mover(a, b).Plan(t.Context()))
			if plan.Tasks != int64(s.count) || plan.Deleted != 1 || plan.Queues != 2 || plan.Workers != 1 || plan.Present+plan.Foreign != 0 || plan.Applied != nil {
				t.Errorf("the plan is %+v", plan)
			}
			if n := len(records(t, b)); n != 0 {
				t.Errorf("the plan has put %d records into the target", n)
			}
			moved := must[*Migration](t)(mover(a, b).Apply(t.Context(), plan))
			if moved.Applied.Added != int64(s.count)+1 || moved.Verified != int64(s.count)+1 || moved.Ahead+moved.Expired != 0 || moved.Digest != moved.DigestHere || moved.Digest == "" {
				t.Errorf("moved: %+v, %+v", moved, moved.Applied)
			}
			for id, was := range records(t, a) {
				if flat(t, before[id]) != flat(t, was) {
					t.Errorf("in the source %+v became %+v", before[id], was)
				}
			}
			// Again, for nothing.
			plan = must[*Migration](t)(mover(a, b).Plan(t.Context()))
			again := must[*Migration](t)(mover(a, b).Apply(t.Context(), plan))
			if plan.Present != int64(s.count)+1 || again.Applied.Kept != int64(s.count)+1 || again.Applied.Added+again.Applied.Updated+again.Applied.Requeued != 0 {
				t.Errorf("the second time: %+v, %+v", again, again.Applied)
			}
			// And back: what ran is queued, all else as it was.
			plan = must[*Migration](t)(mover(b, c).Plan(t.Context()))
			must[*Migration](t)(mover(b, c).Apply(t.Context(), plan))
			after := records(t, c)
			for id, was := range before {
				if id != s.running && id != s.cancelling && flat(t, after[id]) != flat(t, was) {
					t.Errorf("there and back\n%+v\nbecame\n%+v", was, after[id])
				}
			}
			if got := queueNames(t, c); got["mail"] != queueNames(t, a)["mail"] || got["slow"] != queueNames(t, a)["slow"] {
				t.Errorf("queues are %+v", got)
			}
		})
	}
}

func TestMigrateRefusesOthersTasks(t *testing.T) {
	for kind, to := range targets(t) {
		from := embedded(t, t.TempDir())
		enqueue(t, from, spec(0))
		enqueue(t, to, spec(1))
		m := mover(from, to)
		plan := must[*Migration](t)(m.Plan(t.Context()))
		if _, err := m.Apply(t.Context(), plan); !errors.Is(err, morningai.ErrConflict) || len(records(t, to)) != 1 {
			t.Errorf("%s with another task: %v, and %d records", kind, err, len(records(t, to)))
		}
		m.To.Merge = true
		if moved := must[*Migration](t)(m.Apply(t.Context(), plan)); moved.Verified != 1 || len(records(t, to)) != 2 {
			t.Errorf("%s, told to: %+v", kind, moved)
		}
	}
}

// A migration that was interrupted is repeated, by the same command.
func TestMigrateIsRepeatedAfterAnInterruption(t *testing.T) {
	from := embedded(t, t.TempDir())
	for range 3 {
		var specs []morningai.TaskSpec
		for n := range morningai.MaxBatch {
			specs = append(specs, spec(n))
		}
		enqueue(t, from, specs...)
	}
	to := &failing{embedded(t, t.TempDir()), 1}
	m := mover(from, to)
	if _, err := m.Apply(t.Context(), must[*Migration](t)(m.Plan(t.Context()))); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	other := mover(from, to)
	other.Name = "another"
	if _, err := other.Apply(t.Context(), must[*Migration](t)(other.Plan(t.Context()))); !errors.Is(err, morningai.ErrConflict) {
		t.Errorf("another migration gets in between: %v", err)
	}
	to.left = 100
	plan := must[*Migration](t)(m.Plan(t.Context()))
	moved := must[*Migration](t)(m.Apply(t.Context(), plan))
	if plan.Present != morningai.MaxBatch || moved.Applied.Kept != morningai.MaxBatch || moved.Verified != 3*morningai.MaxBatch {
		t.Errorf("the second time: %+v, %+v", moved, moved.Applied)
	}
}

// A target that went on is ahead, and stays so.
func TestMigrateLeavesWhatIsFurtherOn(t *testing.T) {
	for kind, to := range targets(t) {
		from := embedded(t, t.TempDir())
		enqueue(t, from, spec(0), spec(1))
		m := mover(from, to)
		must[*Migration](t)(m.Apply(t.Context(), must[*Migration](t)(m.Plan(t.Context()))))
		crew := join(t, to, 3)
		crew.finish(crew.claim(1)[0], morningai.OutcomeSucceeded)
		moved := must[*Migration](t)(m.Apply(t.Context(), must[*Migration](t)(m.Plan(t.Context()))))
		if moved.Ahead != 1 || moved.Verified != 1 {
			t.Errorf("%s: %+v", kind, moved)
		}
		if len(crew.claim(5)) != 1 {
			t.Errorf("%s: a task that had ended runs again", kind)
		}
	}
}

// forgetful loses or changes what it is given.
type forgetful struct {
	morningai.Engine
	change func([]morningai.Record) []morningai.Record
}

func (f *forgetful) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	page, err := f.Engine.Export(ctx, cursor, limit)
	page.Records = f.change(page.Records)
	return page, err
}

// What does not arrive as it left is noticed.
func TestMigrateVerifies(t *testing.T) {
	for what, change := range map[string]func([]morningai.Record) []morningai.Record{
		"a task that is missing": func(all []morningai.Record) []morningai.Record { return all[:max(len(all)-1, 0)] },
		"a payload that is another": func(all []morningai.Record) []morningai.Record {
			for i := range all {
				all[i].Task.Payload = []byte("7")
			}
			return all
		},
	} {
		from := embedded(t, t.TempDir())
		enqueue(t, from, spec(0), spec(1))
		m := mover(from, &forgetful{embedded(t, t.TempDir()), change})
		_, err := m.Apply(t.Context(), must[*Migration](t)(m.Plan(t.Context())))
		if morningai.CodeOf(err) != CodeNotVerified {
			t.Errorf("%s: %v", what, err)
		}
	}
}
