package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/docgen"
	"github.com/RC918/morningai/sqlite"
)

// Question is one faq task to be run without a server.
type Question struct {
	Text string
	Docs string // folder of documents
	Repo string // OWNER/NAME; "": the git origin of the folder
	Data string // where the index is kept from one question to the next

	Logger   *slog.Logger          // slog.Default() if nil
	Progress func(done, total int) // of indexing, when there is much to do; may be nil
}

// Answer runs one faq task on an engine of its own that is gone afterwards, and
// returns the ended task; that the task has failed is no error of Answer. It
// does not touch the tasks in the data folder, so that a server may use that
// folder at the same time.
func Answer(ctx context.Context, q Question) (_ *morningai.Task, err error) {
	if q.Logger == nil {
		q.Logger = slog.Default()
	}
	temp, err := os.MkdirTemp("", "morningai-ask-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	index := docgen.IndexPath(q.Data, q.Docs)
	if err := prepareFolder(q.Data); err != nil {
		q.Logger.Warn("the index is not kept", "error", err)
		index = docgen.IndexPath(temp, q.Docs)
	}
	answers, err := docgen.Open(ctx, docgen.Options{Docs: q.Docs, Index: index, Repo: q.Repo, Logger: q.Logger, Progress: q.Progress})
	if err != nil {
		return nil, aboutDocs(err)
	}
	defer func() { err = errors.Join(err, answers.Close()) }()
	engine, err := sqlite.Open(ctx, filepath.Join(temp, tasksFile), sqlite.WithSync(sqlite.SyncNormal), sqlite.WithLogger(q.Logger))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return runQuestion(ctx, engine, answers, q)
}

func runQuestion(ctx context.Context, engine morningai.Engine, answers *docgen.Generator, q Question) (_ *morningai.Task, err error) {
	// What becomes of the one task is returned, so it is not logged too.
	app := morningai.New(engine, morningai.WithConcurrency(1), morningai.WithLogger(slog.New(slog.DiscardHandler)))
	morningai.Handle(app, docgen.TaskType, func(ctx context.Context, in docgen.Request) (docgen.Result, error) {
		task, _ := morningai.CurrentTask(ctx)
		return answers.Answer(ctx, in.Question, in.Repo, task.TraceID)
	})
	if err := app.Start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		now, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel() // whoever asked has the answer or does not want it any more
		if stopErr := app.Stop(now); !errors.Is(stopErr, context.Canceled) {
			err = errors.Join(err, stopErr)
		}
	}()
	payload, err := json.Marshal(docgen.Request{Question: q.Text, Repo: q.Repo})
	if err != nil {
		return nil, fmt.Errorf("write the question: %w", err)
	}
	spec := morningai.NewTaskSpec(docgen.TaskType, payload)
	spec.MaxAttempts = 1
	task, err := app.Enqueue(ctx, spec)
	if err != nil {
		return nil, err
	}
	return app.Wait(ctx, task.ID)
}
