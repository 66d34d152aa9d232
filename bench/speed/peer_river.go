package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"
)

// Kind makes work the arguments of a river job.
func (work) Kind() string { return "work" }

type riverSystem struct {
	db     *sql.DB
	tuning tuning
	insert *river.Client[*sql.Tx]
	worker *river.Client[*sql.Tx]
}

// openRiver uses one connection, as the driver's documentation advises; more
// of them end in SQLITE_BUSY.
func openRiver(ctx context.Context, path string, t tuning) (system, error) {
	db, err := sql.Open("sqlite", dsn(path, "_txlock=immediate"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	migrator, err := rivermigrate.New(riversqlite.New(db), &rivermigrate.Config{Logger: riverLog()})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrate river: %w", err)
	}
	insert, err := river.NewClient(riversqlite.New(db), &river.Config{Logger: riverLog()})
	if err != nil {
		return nil, err
	}
	return &riverSystem{db: db, tuning: t, insert: insert}, nil
}

func riverLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

func (s *riverSystem) enqueue(ctx context.Context, w work) error {
	_, err := s.insert.Insert(ctx, w, nil)
	return err
}

func (s *riverSystem) bulk(ctx context.Context, ws []work) error {
	params := make([]river.InsertManyParams, len(ws))
	for i, w := range ws {
		params[i] = river.InsertManyParams{Args: w}
	}
	n, err := s.insert.InsertManyFast(ctx, params)
	if err == nil && n != len(ws) {
		err = fmt.Errorf("river inserted %d of %d", n, len(ws))
	}
	return err
}

func (s *riverSystem) start(ctx context.Context, handle func(int)) error {
	workers := river.NewWorkers()
	err := river.AddWorkerSafely(workers, river.WorkFunc(func(_ context.Context, job *river.Job[work]) error {
		handle(job.Args.N)
		return nil
	}))
	if err != nil {
		return err
	}
	// Found by trying: large, spaced fetches for the rate; for the latency,
	// polling as often as leaves the one connection time for inserts.
	config := &river.Config{
		Logger:            riverLog(),
		Workers:           workers,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2000}},
		FetchCooldown:     20 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
	}
	if s.tuning == forLatency {
		config.PollOnly = true
		config.FetchCooldown = 5 * time.Millisecond
		config.FetchPollInterval = 5 * time.Millisecond
	}
	if s.worker, err = river.NewClient(riversqlite.New(s.db), config); err != nil {
		return err
	}
	return s.worker.Start(ctx)
}

func (s *riverSystem) stored(ctx context.Context) (c counts, err error) {
	err = s.db.QueryRowContext(ctx,
		`SELECT count(*) FILTER (WHERE state <> 'completed'), count(*) FILTER (WHERE state = 'completed') FROM river_job`).
		Scan(&c.waiting, &c.finished)
	return c, err
}

func (s *riverSystem) close(ctx context.Context) error {
	if s.worker != nil {
		if err := s.worker.Stop(ctx); err != nil {
			return err
		}
	}
	return s.db.Close()
}
