package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// What the child says, one line each, on a pipe that outlives it:
//
//	up                     the engine is open
//	tried ID PAYLOAD       about to enqueue
//	acked ID               the enqueue was acknowledged
//	ran ID ATTEMPT PAYLOAD a handler started
//	done ID OUTCOME        the outcome was acknowledged
type teller struct{ mu sync.Mutex }

// say writes a line at once: short writes to a pipe are not torn apart, and
// what was written is read by the parent even if this process is gone.
func (t *teller) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := fmt.Fprintf(os.Stdout, format+"\n", args...); err != nil {
		os.Exit(3) // nobody listens any more
	}
}

// telling is an engine that tells of what it has acknowledged.
type telling struct {
	morningai.Engine
	*teller
	free chan struct{} // a place for each task that has not ended
}

func (e *telling) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	got, err := e.Engine.Enqueue(ctx, specs)
	for _, r := range got {
		if r.Err == nil {
			e.say("acked %s", r.Task.ID)
		}
	}
	return got, err
}

func (e *telling) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	got, err := e.Engine.Finish(ctx, reports)
	for i, v := range got {
		if v.Err == nil {
			e.say("done %s %s", reports[i].Lease.ID, reports[i].Outcome)
		}
		if v.State.Terminal() {
			select {
			case e.free <- struct{}{}:
			default: // a task from before the last kill
			}
		}
	}
	return got, err
}

type work struct {
	N    int    `json:"n"`
	Fill string `json:"fill"`
}

const (
	childPath   = "MORNINGAI_CRASHTEST_PATH"
	childSeed   = "MORNINGAI_CRASHTEST_SEED"
	childHolds  = "MORNINGAI_CRASHTEST_HOLDS"
	outstanding = 400
)

// child runs until it is killed.
func child() error {
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err != nil {
		return err
	}
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, os.Getenv(childPath))
	if err != nil {
		return err
	}
	e := &telling{Engine: engine, teller: &teller{}, free: make(chan struct{}, outstanding)}
	for range outstanding {
		e.free <- struct{}{}
	}
	app := morningai.New(e, morningai.WithConcurrency(8), morningai.WithLease(time.Second),
		morningai.WithLogger(slog.New(slog.DiscardHandler))) // failing tasks are meant to fail
	app.HandleFunc("work", func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
		e.say("ran %s %d %s", task.ID, task.Attempt, task.Payload)
		var in work
		if err := json.Unmarshal(task.Payload, &in); err != nil {
			return nil, err
		}
		twice, err := morningai.Step(ctx, "double", func(context.Context) (int, error) { return 2 * in.N, nil })
		switch {
		case err != nil:
			return nil, err
		case in.N%7 == 0 && task.Failures == 0:
			return nil, morningai.RetryAfter(time.Millisecond, errors.New("once more"))
		case in.N%11 == 0:
			return nil, fmt.Errorf("never: %w", morningai.ErrSkipRetry)
		}
		return json.RawMessage(strconv.Itoa(twice)), nil
	})
	if err := app.Start(ctx); err != nil {
		return err
	}
	e.say("up")
	failed := make(chan error)
	for p := range 4 {
		go func() { failed <- produce(ctx, e, rand.New(rand.NewPCG(seed, uint64(p)))) }()
	}
	return <-failed
}

func produce(ctx context.Context, e *telling, rnd *rand.Rand) error {
	for {
		specs := make([]morningai.TaskSpec, 1+rnd.IntN(4))
		for i := range specs {
			<-e.free
			in, err := json.Marshal(work{N: rnd.IntN(1000), Fill: fmt.Sprintf("%0*d", rnd.IntN(300), 1)})
			if err != nil {
				return err
			}
			specs[i] = morningai.NewTaskSpec("work", in)
			if specs[i].ID, err = morningai.NewID(); err != nil {
				return err
			}
			specs[i].Priority = rnd.IntN(10)
			specs[i].Queue = []string{"a", "b"}[rnd.IntN(2)]
			if rnd.IntN(5) == 0 {
				specs[i].RunAt = time.Now().Add(time.Duration(rnd.IntN(50)) * time.Millisecond)
			}
			e.say("tried %s %s", specs[i].ID, in)
		}
		if _, err := e.Enqueue(ctx, specs); err != nil {
			return err
		}
	}
}
