package server

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/peer"
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
	Lease       time.Duration  // after which silent servers are called dead by the others; 0: morningai.DefaultLease
	Node        string         // what attempts call this server; "": the host's name

	Role Role // what it does of the work; "": RoleAll
	// Peers are the addresses of servers whose tasks this one runs too, while
	// they cannot hand them out through the Redis that they share.
	Peers     []string
	PeerToken string // what peers are asked with; of the scope submit

	Redis Redis // where tasks live that several servers share; without one they live in Data

	Notify Notify // who is told of outages that last

	SyncNormal      bool          // embedded engine: acknowledge before the disk confirms, which survives a crash of the process, not of the machine
	RetainSucceeded time.Duration // how long succeeded tasks stay, and canceled ones of the embedded engine
	RetainFailed    time.Duration // how long failed tasks stay, and canceled ones in Redis
	RetainCount     int           // embedded engine: ended tasks to keep per queue; 0: no bound

	// RQQueues are the queues of Python's RQ, in the same Redis, to which tasks of
	// the types rq:path.to.func are delivered from the queue of the same name.
	RQQueues []string
	// RQSerializer is how RQ's workers read jobs: "json" or "pickle"; json if "".
	RQSerializer string
	// KeepLog is how many bytes of the log are kept in Data, for GET /v1/logs; 0:
	// none. LogLevel is from which level on; nil: slog.LevelInfo.
	KeepLog  int64
	LogLevel slog.Leveler
	// LogPayloads writes the payloads of accepted tasks into the log.
	LogPayloads bool

	// OTLP is the address of a collector of spans, such as http://127.0.0.1:4318.
	// "": spans are made only if a variable OTEL_EXPORTER_OTLP_ENDPOINT or
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names one.
	OTLP string

	HTTPAllow []netip.Prefix // addresses that http tasks may reach although they are not globally reachable
}

// Open builds a server on a data folder: the embedded engine or one on Redis,
// and an app with the built-in task types. Errors say what to do;
// morningai.ErrLocked means that another process uses the folder's engine, and
// the codes of this package that Redis cannot be used now, or as it is set up.
// Run or Close releases what it opens.
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

	if err := c.checkRole(); err != nil {
		return nil, err
	}
	if err := prepareFolder(c.Data); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := c.openLog(opening); err != nil {
		return nil, err
	}
	peers, err := c.openPeers(opening)
	if err != nil {
		return nil, err
	}
	asker := peer.NewAsker(c.PeerToken)
	opening(func() error { asker.Close(); return nil })
	where := &located{}
	engine, err := openEngine(ctx, &c, where.url, asker.Ask)
	if err != nil {
		return nil, err
	}
	opening(engine.Close)
	notify, err := c.notifier(engine)
	if err != nil {
		return nil, err
	}

	settings := []morningai.AppOption{morningai.WithConcurrency(c.Concurrency), morningai.WithQueues(c.Queues),
		morningai.WithGrace(c.Grace), morningai.WithNode(c.Node), morningai.WithLogger(c.Logger), morningai.WithSuccessLevel(slog.LevelInfo), morningai.WithSources(peers...)}
	if c.Lease != 0 {
		settings = append(settings, morningai.WithLease(c.Lease))
	}
	app := morningai.New(engine, settings...)
	opening(func() error { app.Client.Close(); return nil })
	app.UseEnqueue(c.logAccepted)
	tracer, err := c.openTracer(ctx, app, opening)
	if err != nil {
		return nil, err
	}
	docs, err := c.register(ctx, app, opening)
	if err != nil {
		return nil, err
	}
	bridge, err := c.openBridge(app, engine, opening)
	if err != nil {
		return nil, err
	}

	opts := c.Options
	opts.AddressFolder, opts.Documents, opts.OnlyAsk = c.Data, docs, c.Role == RoleWorker
	s := New(app, opts)
	if err := s.Err(); err != nil {
		return nil, err
	}
	if tracer != nil {
		s.handler = tracer.Handler(s.handler)
		s.workers.OnAttempt(tracer.Remote)
	}
	s.release, s.where, s.notify, s.bridge = release, where, notify, bridge
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
