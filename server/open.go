package server

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/docgen"
	"github.com/RC918/morningai/internal/builtin"
	"github.com/RC918/morningai/sqlite"
)

// Config says what Open builds.
type Config struct {
	Options // AddressFolder and Documents are set by Open

	Data string // folder for tasks and the index; made if missing
	Docs string // folder of documents for faq tasks
	Repo string // OWNER/NAME of the documents; "": the git origin of their folder

	Concurrency int            // tasks to run at once
	Queues      map[string]int // weights of the queues to serve; empty: all
	Grace       time.Duration  // for running tasks when stopping

	SyncNormal      bool          // acknowledge before the disk confirms: survives a crash of the process, not of the machine
	RetainSucceeded time.Duration // how long succeeded and canceled tasks stay
	RetainFailed    time.Duration // how long failed tasks stay
	RetainCount     int           // ended tasks to keep per queue; 0: no bound

	HTTPAllow []netip.Prefix // addresses that http tasks may reach although they are not globally reachable
}

// Open builds a server on a data folder: the embedded engine, and an app with
// the built-in task types. Errors say what to do; morningai.ErrLocked means that
// another process uses the folder. Run or Close releases what it opens.
func Open(ctx context.Context, c Config) (_ *Server, err error) {
	var release []func() error
	defer func() {
		if err != nil {
			for _, f := range release {
				err = errors.Join(err, f())
			}
		}
	}()
	opening := func(closer func() error) { release = append([]func() error{closer}, release...) }

	if err := prepareFolder(c.Data); err != nil {
		return nil, err
	}
	durability := sqlite.SyncFull
	if c.SyncNormal {
		durability = sqlite.SyncNormal
	}
	engine, err := sqlite.Open(ctx, filepath.Join(c.Data, tasksFile), sqlite.WithSync(durability), sqlite.WithLogger(c.Logger),
		sqlite.WithRetention(c.RetainSucceeded, c.RetainFailed), sqlite.WithMaxEnded(c.RetainCount))
	if err != nil {
		return nil, err
	}
	opening(engine.Close)
	answers, err := docgen.Open(ctx, docgen.Options{Docs: c.Docs, Index: docgen.IndexPath(c.Data, c.Docs), Repo: c.Repo, Logger: c.Logger})
	if err != nil {
		return nil, aboutDocs(err)
	}
	opening(answers.Close)

	app := morningai.New(engine, morningai.WithConcurrency(c.Concurrency), morningai.WithQueues(c.Queues),
		morningai.WithGrace(c.Grace), morningai.WithLogger(c.Logger))
	opening(func() error { app.Client.Close(); return nil })
	if err := builtin.Register(app, builtin.Options{HTTPAllow: c.HTTPAllow}); err != nil {
		return nil, err
	}
	morningai.Handle(app, docgen.TaskType, answers.Handler)

	opts := c.Options
	opts.AddressFolder, opts.Documents = c.Data, answers.Docs()
	s, err := New(app, opts)
	if err != nil {
		return nil, err
	}
	s.release = release
	return s, nil
}

// aboutDocs makes of a folder that is not there a wrong setting: nobody asked
// for a thing by its name.
func aboutDocs(err error) error {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok || e.Code != morningai.CodeNotFound {
		return err
	}
	setting := *e
	setting.Code = morningai.CodeInvalidInput
	return &setting
}
