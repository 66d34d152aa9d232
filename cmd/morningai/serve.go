package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/server"
)

type serveCmd struct {
	Listen          string         `default:"127.0.0.1:8080" placeholder:"HOST:PORT" env:"MORNINGAI_LISTEN" help:"Address to listen on; port 0 picks a free one (${default})."`
	Data            string         `placeholder:"DIR" type:"path" env:"MORNINGAI_DATA" help:"Folder for tasks and the index; the user's state folder unless given."`
	Redis           string         `placeholder:"URL" env:"MORNINGAI_REDIS,REDIS_URL" help:"Keep the tasks in this Redis or Valkey, which several servers share. A password belongs into the environment variable: command lines are public."`
	Engine          string         `default:"" enum:",sqlite,redis" placeholder:"sqlite|redis" env:"MORNINGAI_ENGINE" help:"Where the tasks live: the data folder or Redis. Redis if there is an address, unless given."`
	NoJournal       bool           `name:"no-journal" env:"MORNINGAI_NO_JOURNAL" help:"With Redis: keep no journal in the data folder. Given up: while Redis is away nothing is accepted (503 redis_unavailable), and what Redis loses is lost."`
	Durability      string         `default:"journal+redis" enum:"journal+redis,journal,redis" placeholder:"WHERE" env:"MORNINGAI_DURABILITY" help:"With Redis: where a task must be before it is acknowledged, journal+redis, journal or redis (${default})."`
	JournalLimit    string         `default:"8GiB" placeholder:"SIZE" env:"MORNINGAI_JOURNAL_LIMIT" help:"With Redis: size at which the journal takes no more tasks, such as 512MiB; 0 sets no bound (${default})."`
	JournalMinFree  string         `name:"journal-min-free" default:"64MiB" placeholder:"SIZE" env:"MORNINGAI_JOURNAL_MIN_FREE" help:"With Redis: space that stays free on the journal's disk; with less no tasks are taken (${default})."`
	AllowEviction   bool           `name:"redis-allow-eviction" env:"MORNINGAI_REDIS_ALLOW_EVICTION" help:"Start although Redis evicts keys when its memory is full, and so loses tasks without an error."`
	Lease           time.Duration  `default:"15s" placeholder:"D" env:"MORNINGAI_LEASE" help:"How long the other servers on a Redis wait before they call this one dead and run its tasks, 1s to 1h (${default})."`
	Node            string         `placeholder:"NAME" env:"MORNINGAI_NODE" help:"What attempts call this server; the name of the host unless given."`
	Role            string         `default:"all" enum:"all,api,worker" placeholder:"all|api|worker" env:"MORNINGAI_ROLE" help:"api accepts tasks and runs none, worker runs tasks and accepts none, all does both (${default})."`
	Peer            []string       `placeholder:"URL" env:"MORNINGAI_PEER" help:"Run the tasks of the server at this address too, while it cannot hand them out through Redis; may be repeated."`
	PeerToken       string         `placeholder:"TOKEN" env:"MORNINGAI_PEER_TOKEN,MORNINGAI_TOKEN" help:"Token for peers, of the scope submit. It belongs into the environment variable: command lines are public."`
	Concurrency     int            `default:"32" placeholder:"N" env:"MORNINGAI_CONCURRENCY" help:"Tasks to run at once (${default})."`
	Queues          map[string]int `mapsep:"," placeholder:"NAME=WEIGHT,…" env:"MORNINGAI_QUEUES" help:"Work on these queues only, sharing by weight, such as critical=6,default=3."`
	Grace           time.Duration  `default:"25s" placeholder:"D" env:"MORNINGAI_GRACE" help:"Time that running tasks have to finish when stopping (${default})."`
	Docs            string         `default:"." type:"path" placeholder:"DIR" env:"MORNINGAI_DOCS" help:"Folder of Markdown documents for faq tasks; the current one unless given."`
	Repo            string         `placeholder:"OWNER/NAME" env:"MORNINGAI_REPO" help:"Repository of the documents; the git origin of their folder unless given."`
	TokenFile       string         `type:"path" placeholder:"FILE" env:"MORNINGAI_TOKEN_FILE" help:"File of lines SCOPE TOKEN [NAME], with the scope read, submit or admin."`
	Insecure        bool           `env:"MORNINGAI_INSECURE" help:"Listen beyond this machine without tokens."`
	HTTPAllow       []network      `name:"http-allow" placeholder:"CIDR" env:"MORNINGAI_HTTP_ALLOW" help:"Let http tasks reach these addresses, which are not globally reachable; may be repeated."`
	RQQueues        []string       `name:"rq-queues" placeholder:"NAME,…" env:"MORNINGAI_RQ_QUEUES" help:"With Redis: deliver tasks of the types rq:path.to.func in these queues to the queues of Python's RQ in the same Redis."`
	RQSerializer    string         `name:"rq-serializer" default:"json" enum:"json,pickle" placeholder:"json|pickle" env:"MORNINGAI_RQ_SERIALIZER" help:"With --rq-queues: how RQ's workers read jobs, json or pickle, which RQ uses unless told otherwise (${default})."`
	Sync            string         `default:"full" enum:"full,normal" placeholder:"full|normal" env:"MORNINGAI_SYNC" help:"When a write counts as done: full waits for the disk, normal survives a crash of the process only (${default})."`
	RetainSucceeded time.Duration  `default:"24h" placeholder:"D" env:"MORNINGAI_RETAIN_SUCCEEDED" help:"How long succeeded tasks stay, and canceled ones of the embedded engine (${default})."`
	RetainFailed    time.Duration  `default:"168h" placeholder:"D" env:"MORNINGAI_RETAIN_FAILED" help:"How long failed tasks stay, and canceled ones in Redis (${default})."`
	RetainCount     int            `default:"0" placeholder:"N" env:"MORNINGAI_RETAIN_COUNT" help:"Ended tasks that the embedded engine keeps per queue; 0 sets no bound (${default})."`
	BackupDir       string         `type:"path" placeholder:"DIR" env:"MORNINGAI_BACKUP_DIR" help:"Make backups of everything in this folder, which no other server uses."`
	BackupEvery     time.Duration  `default:"1h" placeholder:"D" env:"MORNINGAI_BACKUP_EVERY" help:"With --backup-dir: time from one backup to the next (${default})."`
	BackupKeep      int            `default:"24" placeholder:"N" env:"MORNINGAI_BACKUP_KEEP" help:"With --backup-dir: backups that stay, the newest (${default})."`
	BackupKey       string         `type:"path" placeholder:"FILE" env:"MORNINGAI_BACKUP_KEY" help:"With --backup-dir: sign backups with the key in this file, of 32 bytes or more."`
	NotifyURL       string         `name:"notify-url" placeholder:"URL" env:"MORNINGAI_NOTIFY_URL" help:"With Redis and a journal: tell this address of outages that last, and of their end."`
	NotifySecret    string         `placeholder:"TEXT" env:"MORNINGAI_NOTIFY_SECRET" help:"What notifications are signed with, 16 bytes or more. It belongs into the environment variable: command lines are public."`
	NotifyAfter     time.Duration  `default:"1m" placeholder:"D" env:"MORNINGAI_NOTIFY_AFTER" help:"How long an outage lasts before anybody is told (${default})."`
	LogLevel        string         `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" env:"MORNINGAI_LOG_LEVEL" help:"debug, info, warn or error (${default})."`
	LogFormat       string         `default:"text" enum:"text,json" placeholder:"FORMAT" env:"MORNINGAI_LOG_FORMAT" help:"text or json (${default})."`
	LogKeep         string         `name:"log-keep" default:"64MiB" placeholder:"SIZE" env:"MORNINGAI_LOG_KEEP" help:"How much of the log is kept in the data folder, for morningai logs; 0 keeps none (${default})."`
	OTLPEndpoint    string         `name:"otlp-endpoint" placeholder:"URL" env:"MORNINGAI_OTLP_ENDPOINT" help:"Send spans of tasks to the OpenTelemetry collector at this address, such as http://127.0.0.1:4318. Without it they are sent if OTEL_EXPORTER_OTLP_ENDPOINT names one."`
	LogPayloads     bool           `name:"log-payloads" env:"MORNINGAI_LOG_PAYLOADS" help:"Write the payloads of accepted tasks into the log; they may hold secrets."`
}

// Run serves until a signal asks it to stop.
func (c *serveCmd) Run(ctx context.Context, s streams, line *kong.Context, settings *envFile) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	url, err := c.redisURL()
	if err != nil {
		return err
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	keep, err := bytesOf("--log-keep", c.LogKeep)
	if err != nil {
		return err
	}
	if err := c.checkBackups(); err != nil {
		return err
	}
	data, err := dataFolder(c.Data)
	if err != nil {
		return err
	}
	if url != "" {
		fmt.Fprintf(s.err, "engine redis at %s (from %s)\n", redisHost(url), redisSource(line))
		if c.NoJournal {
			fmt.Fprintln(s.err, "no journal: while Redis is away, requests are answered with 503 redis_unavailable")
		}
	}
	level := new(slog.LevelVar)
	level.Set(c.level())
	logger := c.logger(s.err, level)
	manager := startNotifier(logger)
	defer manager.stop()
	ctx, release := c.untilSignal(ctx, s, manager)
	defer release()
	srv, err := server.Open(ctx, server.Config{
		Options: server.Options{
			Listen: c.Listen, TokenFile: c.TokenFile, Insecure: c.Insecure, Version: programVersion(),
			Logger:  logger,
			Backups: server.Backups{Folder: c.BackupDir, Every: c.BackupEvery, Keep: c.BackupKeep, KeyFile: c.BackupKey},
			Ready: func(url, engine string) {
				fmt.Fprintf(s.err, "morningai ready on %s (engine: %s)\n", url, engine)
				manager.ready(url)
			},
		},
		Data: data, Docs: c.Docs, Repo: c.Repo, Concurrency: c.Concurrency, Queues: c.Queues, Grace: c.Grace,
		Role: server.Role(c.Role), Peers: c.Peer, PeerToken: c.PeerToken,
		Redis: server.Redis{URL: url, AllowEviction: c.AllowEviction, NoJournal: c.NoJournal, Durability: morningai.Durability(c.Durability),
			JournalLimit: limits.JournalLimit, JournalMinFree: limits.JournalMinFree}, Lease: c.Lease, Node: c.Node,
		Notify:     server.Notify{URL: c.NotifyURL, Secret: c.NotifySecret, After: c.NotifyAfter},
		SyncNormal: c.Sync == "normal", RetainSucceeded: c.RetainSucceeded, RetainFailed: c.RetainFailed,
		RetainCount: c.RetainCount, HTTPAllow: prefixes(c.HTTPAllow), RQQueues: c.RQQueues, RQSerializer: c.RQSerializer, KeepLog: keep, LogLevel: level, LogPayloads: c.LogPayloads, OTLP: c.OTLPEndpoint,
	})
	if err != nil {
		return err
	}
	r := reloader{srv: srv, log: logger, level: level, manager: manager, args: line.Args, settings: settings}
	defer r.follow(hangups)()
	return srv.Run(ctx)
}

func (c *serveCmd) level() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return slog.LevelInfo // the flag allows names of levels only
	}
	return level
}

func (c *serveCmd) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// limits are the settings that may change while the server runs.
func (c *serveCmd) limits() (server.Limits, error) {
	limit, err := bytesOf("--journal-limit", c.JournalLimit)
	if err != nil {
		return server.Limits{}, err
	}
	minFree, err := bytesOf("--journal-min-free", c.JournalMinFree)
	return server.Limits{Concurrency: c.Concurrency, JournalLimit: limit, JournalMinFree: minFree}, err
}

// untilSignal returns a context that ends with the first signal. The second one
// ends the process, and what runs then is treated as after a crash.
func (c *serveCmd) untilSignal(ctx context.Context, s streams, manager *notifier) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals...)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
			fmt.Fprintf(s.err, "stopping: running tasks have %s to finish; a second signal stops at once\n", c.Grace)
			manager.stopping()
			cancel()
		case <-over:
			return
		}
		select {
		case <-signals:
			fmt.Fprintln(s.err, "stopped at once; tasks that were running run again after the next start")
			os.Exit(exitFailed)
		case <-over:
		}
	}()
	return ctx, func() {
		close(over)
		<-ended
		signal.Stop(signals)
		cancel()
	}
}
