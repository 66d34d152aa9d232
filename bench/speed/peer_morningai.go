package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

type ourSystem struct {
	engine *sqlite.Engine
	app    *morningai.App
	task   *morningai.Definition[work, any]
	handle func(int)
	works  bool
}

func openMorningAI(ctx context.Context, path string, _ tuning) (system, error) {
	engine, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &ourSystem{engine: engine}
	s.app = morningai.New(engine, morningai.WithConcurrency(256),
		morningai.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	s.task = morningai.Handle(s.app, "work", func(_ context.Context, w work) (any, error) {
		s.handle(w.N)
		return nil, nil
	})
	return s, nil
}

func (s *ourSystem) enqueue(ctx context.Context, w work) error {
	_, err := s.task.Enqueue(ctx, w)
	return err
}

func (s *ourSystem) bulk(ctx context.Context, ws []work) error {
	tasks, err := s.task.EnqueueBatch(ctx, ws)
	if err == nil && len(tasks) != len(ws) {
		err = fmt.Errorf("accepted %d of %d", len(tasks), len(ws))
	}
	return err
}

func (s *ourSystem) start(ctx context.Context, handle func(int)) error {
	s.handle, s.works = handle, true
	return s.app.Start(ctx)
}

func (s *ourSystem) stored(ctx context.Context) (counts, error) { return storedIn(ctx, s.app) }

// storedIn counts by the app's statistics, which engines keep with the tasks.
func storedIn(ctx context.Context, app *morningai.App) (counts, error) {
	stats, err := app.Stats(ctx)
	if err != nil {
		return counts{}, err
	}
	var c counts
	for state, n := range stats.States {
		if state == morningai.StateSucceeded {
			c.finished += n
		} else if !state.Terminal() {
			c.waiting += n
		}
	}
	return c, nil
}

func (s *ourSystem) close(ctx context.Context) error {
	if s.works {
		if err := s.app.Stop(ctx); err != nil {
			return err
		}
	}
	return s.engine.Close()
}
