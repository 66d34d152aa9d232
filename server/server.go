package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/address"
	"github.com/RC918/morningai/internal/backup"
	"github.com/RC918/morningai/internal/httpapi"
	"github.com/RC918/morningai/internal/rqbridge"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/webhook"
)

// DefaultListen is where Run listens unless told otherwise.
const DefaultListen = "127.0.0.1:8080"

// Options say how an app is served. The zero value answers this machine only.
type Options struct {
	// Listen is HOST:PORT for Run; port 0 picks a free one. DefaultListen if "".
	Listen string
	// TokenFile has lines "SCOPE TOKEN [NAME]" with the scope read, submit or
	// admin. Without one only requests from this machine that come from no web
	// page are answered, and Run listens on loopback addresses only.
	TokenFile string
	// Insecure answers everyone although there is no token file.
	Insecure bool
	// Version is what health answers say.
	Version string
	// AddressFolder is where Run leaves the server's address for commands on
	// this machine; "": nowhere.
	AddressFolder string
	// Documents is the folder that the app's faq tasks answer from, if it has
	// any; clients on this machine can ask whether it is theirs.
	Documents string
	// LogFolder is where Open keeps the server's log, for those who ask for it.
	LogFolder string
	// OnlyAsk refuses orders with 409 wrong_state: nothing is accepted or
	// commanded through this server, which runs tasks that others accept.
	OnlyAsk bool
	// Backups are made by Run.
	Backups Backups
	// Ready is called once requests are accepted, with the server's URL and the
	// engine's name. May be nil.
	Ready  func(url, engine string)
	Logger *slog.Logger // slog.Default() if nil
}

// Server serves one app.
type Server struct {
	app      *morningai.App
	opts     Options
	handler  http.Handler
	instance string
	workers  *sessions.Keeper
	tokens   *httpapi.Tokens  // nil without a file
	stopping chan struct{}    // closed when Run begins to stop
	release  []func() error   // what Open opened, last first
	keeper   *backup.Keeper   // of scheduled backups; nil without them
	notify   *webhook.Sender  // of outages that last; nil without a receiver
	bridge   *rqbridge.Bridge // nil: nothing is delivered to RQ
	where    *located         // for others that ask this server; nil without Open
	wrong    error            // with the options; then there are no workers
}

// New returns a server of the app. It neither starts the app nor listens. What is
// wrong with the options, such as a token file that cannot be used, is what
// [Server.Err] and [Server.Run] return; the handler lets nobody in then.
func New(app *morningai.App, opts Options) *Server {
	if opts.Listen == "" {
		opts.Listen = DefaultListen
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s, err := build(app, opts)
	if err != nil {
		return &Server{app: app, opts: opts, wrong: err, handler: httpapi.Refuse(err, opts.Logger)}
	}
	return s
}

func build(app *morningai.App, opts Options) (*Server, error) {
	var tokens *httpapi.Tokens
	if opts.TokenFile != "" {
		var err error
		if tokens, err = httpapi.LoadTokens(opts.TokenFile); err != nil {
			return nil, err
		}
		for _, w := range tokens.Warnings {
			opts.Logger.Warn(w)
		}
	}
	s := &Server{app: app, opts: opts, tokens: tokens, instance: rand.Text(), stopping: make(chan struct{})}
	documents := ""
	if opts.Documents != "" {
		var err error
		if documents, err = address.Fingerprint(s.instance, opts.Documents); err != nil {
			return nil, err
		}
	}
	if err := httpapi.CheckListen(opts.Listen, tokens, opts.Insecure); err != nil {
		return nil, err
	}
	backups, err := s.openBackups()
	if err != nil {
		return nil, err
	}
	fleet, _ := app.Engine().(morningai.Fleet) // nil: the engine knows of no others
	s.workers = sessions.New(app.Engine(), max(app.Lease(), leastClaim), opts.Logger)
	s.handler, err = httpapi.New(app.Client, httpapi.Options{Fleet: fleet, Backup: s.writeBackup, Backups: backups, Incidents: s.incidents(), Workers: s.workers,
		Attempts: app.Attempts, OnAttempt: app.OnAttempt, OnlyAsk: opts.OnlyAsk, LogFolder: opts.LogFolder, Version: opts.Version, Tokens: tokens, AllowRemote: opts.Insecure,
		Logger: opts.Logger, Stopping: s.stopping, Instance: s.instance, Documents: documents})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Err is what is wrong with the options, a morningai.ErrInvalidInput mostly; nil if
// nothing is.
func (s *Server) Err() error { return s.wrong }

// Handler returns the HTTP API, to mount in a program that listens itself: at the
// root of its host, or below a path with [http.StripPrefix]. The app is started and
// stopped by its owner, who calls Close before the app's engine is closed.
func (s *Server) Handler() http.Handler { return s.handler }

// leastClaim is the shortest lease of claims over HTTP: a peer speaks of them every
// 800 ms, whatever the lease is here.
const leastClaim = 3 * time.Second

// shutdownTime is how long requests under way may take after the app has
// stopped.
const shutdownTime = 5 * time.Second

// Run listens, starts the app, and serves until ctx ends. Then it drains: no
// new task starts, running handlers have the app's grace time to finish, what
// does not finish goes back to its queue without a failure, and requests under
// way are answered. Workers that claim over HTTP have the grace time too, and may
// report what they have not finished by then to the next run. It returns nil after a clean stop. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	return errors.Join(s.run(ctx), s.Close())
}

// Close ends what the server does for workers that claim over HTTP, and releases
// what Open has opened. What they work on is theirs for another lease, for which
// they may report it to another server of the same engine. Run does so by itself. It may be called more than once.
func (s *Server) Close() error {
	if s.workers != nil {
		s.workers.Close()
	}
	var errs []error
	for _, f := range s.release {
		errs = append(errs, f())
	}
	s.release = nil
	return errors.Join(errs...)
}

func (s *Server) run(ctx context.Context) error {
	if s.wrong != nil {
		return s.wrong
	}
	ln, err := openListener(ctx, s.opts.Listen)
	if err != nil {
		return err
	}
	if err := s.startWork(ctx); err != nil {
		return errors.Join(err, ln.Close())
	}
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	web := newHTTPServer(base, s.handler, s.opts.Logger)
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()

	stopBeside := s.runBeside(base)
	err = s.announce(ln.Addr())
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			err = fmt.Errorf("serve: %w", err)
			served <- err // for the one that waits below
		}
	}
	close(s.stopping)
	stopBeside()
	err = errors.Join(err, s.stopWork(context.WithoutCancel(ctx)), s.shutdown(web, cut))
	s.workers.Close()
	<-served
	if s.opts.AddressFolder != "" {
		err = errors.Join(err, address.Remove(s.opts.AddressFolder, s.instance))
	}
	return err
}

// runBeside makes backups and tells of outages, as far as that is wanted, until stop
// is called, which waits for both.
func (s *Server) runBeside(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	if s.keeper != nil {
		wait.Go(func() { s.keeper.Run(ctx) })
	}
	if s.notify != nil {
		wait.Go(func() { s.notify.Run(ctx) })
	}
	return func() {
		cancel()
		wait.Wait()
	}
}

// stopWork gives running tasks the app's grace time, those of workers that claim
// over HTTP too: what they report is still taken meanwhile.
func (s *Server) stopWork(ctx context.Context) error {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		limit, cancel := context.WithTimeout(ctx, s.app.Grace())
		defer cancel()
		s.workers.Drain(limit)
	}()
	err := s.stopApp(ctx)
	<-drained
	return err
}

// announce tells whoever wants to know that requests are accepted.
func (s *Server) announce(addr net.Addr) error {
	if s.opts.AddressFolder != "" {
		err := address.Write(s.opts.AddressFolder, address.Note{URL: reachable(addr), Instance: s.instance, PID: os.Getpid(),
			Listen: s.opts.Listen, TokenFile: s.opts.TokenFile, Open: s.opts.Insecure && s.opts.TokenFile == ""})
		if err != nil {
			return err
		}
	}
	if s.where != nil {
		s.where.set(addr)
	}
	if s.opts.Ready != nil {
		s.opts.Ready("http://"+addr.String(), s.app.Engine().Capabilities().Name)
	}
	return nil
}

// shutdown lets requests under way end, and cuts off those that do not.
func (s *Server) shutdown(web *http.Server, cut func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	err := web.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.opts.Logger.Warn("requests under way were cut off", "after", shutdownTime)
		cut()
		err = web.Close()
	}
	return err
}
