package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/mikestefanello/backlite"
)

// Config makes work a backlite task. Finished tasks stay on record for a day,
// as the other systems keep them; their payloads do not, which is less to write.
func (work) Config() backlite.QueueConfig {
	return backlite.QueueConfig{
		Name: "work", MaxAttempts: 25, Timeout: time.Minute,
		Retention: &backlite.Retention{Duration: 24 * time.Hour},
	}
}

type backliteSystem struct {
	db     *sql.DB
	client *backlite.Client
	handle func(int)
	works  bool
}

func openBacklite(_ context.Context, path string, t tuning) (system, error) {
	db, err := sql.Open("sqlite", dsn(path, "_txlock=immediate"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &backliteSystem{db: db}
	// It fetches as many tasks as workers are free, and sleeps for 100 ms when
	// none is: many for the rate, enough for the latency.
	workers := 4000
	if t == forLatency {
		workers = 256
	}
	s.client, err = backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: workers, ReleaseAfter: time.Hour})
	if err != nil {
		return nil, err
	}
	if err := s.client.Install(); err != nil {
		return nil, err
	}
	s.client.Register(backlite.NewQueue(func(_ context.Context, w work) error {
		s.handle(w.N)
		return nil
	}))
	return s, nil
}

func (s *backliteSystem) enqueue(ctx context.Context, w work) error {
	_, err := s.client.Add(w).Ctx(ctx).Save()
	return err
}

func (s *backliteSystem) bulk(ctx context.Context, ws []work) error {
	tasks := make([]backlite.Task, len(ws))
	for i, w := range ws {
		tasks[i] = w
	}
	_, err := s.client.Add(tasks...).Ctx(ctx).Save()
	return err
}

func (s *backliteSystem) start(ctx context.Context, handle func(int)) error {
	s.handle, s.works = handle, true
	s.client.Start(ctx)
	return nil
}

func (s *backliteSystem) stored(ctx context.Context) (c counts, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM backlite_tasks),
		(SELECT count(*) FROM backlite_tasks_completed WHERE succeeded = 1)`).Scan(&c.waiting, &c.finished)
	return c, err
}

func (s *backliteSystem) close(ctx context.Context) error {
	if s.works && !s.client.Stop(ctx) {
		return errors.New("backlite did not stop in time")
	}
	return s.db.Close()
}
