package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
)

type backupCreateCmd struct {
	File      string `arg:"" type:"path" help:"File to write; it appears when it is whole."`
	Overwrite bool   `help:"Replace a file of that name."`
	Redis     string `placeholder:"URL" help:"Read this Redis without asking a server; servers on it may go on. A password belongs into the environment variable MORNINGAI_BACKUP_REDIS: command lines are public." env:"MORNINGAI_BACKUP_REDIS"`
	reach
	signing
	JSON bool `name:"json" help:"Print JSON."`
}

// Run writes a backup, and says on stderr what it was made of.
func (c *backupCreateCmd) Run(ctx context.Context, s streams, line *kong.Context) error {
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	if here := onLine(line, "server"); here != onLine(line, "redis") { // the other one is from the environment
		if here {
			c.Redis = ""
		} else {
			c.Server = ""
		}
	}
	to := server.BackupFile{Path: c.File, Overwrite: c.Overwrite, KeyFile: c.Key}
	report, err := c.create(ctx, s, to)
	if err != nil {
		return whenInterrupted(err, "no file was written")
	}
	if report.Undelivered > 0 {
		fmt.Fprintf(s.err, "the backup lacks %d entries that a journal has still to deliver to Redis; make another one when morningai health shows none\n", report.Undelivered)
	}
	return printBackup(s, c.JSON, c.File, report)
}

func (c *backupCreateCmd) create(ctx context.Context, s streams, to server.BackupFile) (*server.BackupReport, error) {
	if c.Redis != "" {
		if c.Server != "" {
			return nil, usage("--server and --redis cannot both be given", "a server knows its Redis")
		}
		fmt.Fprintf(s.err, "reading redis at %s\n", redisHost(c.Redis))
		return server.CreateBackup(ctx, server.Place{Redis: server.Redis{URL: c.Redis, AllowEviction: true}}, to, programVersion())
	}
	fallback := guess
	if c.Data != "" {
		fallback = "" // who names a folder means that one
	}
	l, err := c.dialOr(ctx, fallback)
	if err == nil {
		defer l.Close()
		fmt.Fprintf(s.err, "reading the server at %s\n", l.Address())
		report, err := server.SaveBackup(ctx, to, func(w io.Writer) error { return l.Backup(ctx, w) })
		return report, l.hint(err)
	}
	if c.Server != "" || !errors.Is(err, client.ErrUnreachable) {
		return nil, err
	}
	folder, folderErr := dataFolder(c.Data)
	if folderErr != nil {
		return nil, folderErr
	}
	fmt.Fprintf(s.err, "no server answers; reading the data folder %s\n", folder)
	report, folderErr := server.CreateBackup(ctx, server.Place{Data: folder}, to, programVersion())
	if c.Data == "" && errors.Is(folderErr, morningai.ErrNotFound) {
		return nil, err // what was tried says more
	}
	return report, folderErr
}

type backupVerifyCmd struct {
	File string `arg:"" type:"path" help:"Backup to read."`
	signing
	JSON bool `name:"json" help:"Print JSON."`
}

// Run reads a backup.
func (c *backupVerifyCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	report, err := server.VerifyBackup(ctx, server.BackupFile{Path: c.File, KeyFile: c.Key})
	if err != nil {
		return whenInterrupted(err, "the backup was not read to its end")
	}
	return printBackup(s, c.JSON, c.File, report)
}

type backupRestoreCmd struct {
	File          string `arg:"" type:"path" help:"Backup to restore."`
	Data          string `placeholder:"DIR" type:"path" help:"Put it into this data folder; beside --redis, the reports of outages go to the journal in it."`
	Redis         string `placeholder:"URL" help:"Put it into this Redis. A password belongs into the environment variable MORNINGAI_RESTORE_REDIS: command lines are public." env:"MORNINGAI_RESTORE_REDIS"`
	AllowEviction bool   `name:"redis-allow-eviction" env:"MORNINGAI_REDIS_ALLOW_EVICTION" help:"Restore although Redis evicts keys when its memory is full, and so loses tasks without an error."`
	Merge         bool   `help:"Allow a target that holds something: of each task what is further on stays, and nothing is taken away."`
	signing
	retention
	JSON bool `name:"json" help:"Print JSON."`
}

// Run restores a backup. The place has to be named: nobody overwrites by default.
func (c *backupRestoreCmd) Run(ctx context.Context, s streams) error {
	if c.Data == "" && c.Redis == "" {
		return usage("where to restore to is missing", "give --data DIR, for a server without Redis, or --redis URL")
	}
	if err := c.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	progress := newBar(s.err, "restoring")
	done, err := server.RestoreBackup(ctx, server.BackupFile{Path: c.File, KeyFile: c.Key},
		server.Place{Data: c.Data, Redis: server.Redis{URL: c.Redis, AllowEviction: c.AllowEviction}, RetainSucceeded: c.RetainSucceeded, RetainFailed: c.RetainFailed},
		c.Merge, func(done, total int64) { progress.set(int(done), int(total)) })
	progress.clear()
	if err != nil {
		return whenInterrupted(err, "the target may hold a part of the backup: repeat the command")
	}
	if done.IncidentsLeft > 0 {
		fmt.Fprintf(s.err, "%d reports of outages stay in the file: Redis keeps none; --data DIR beside --redis puts them into the journal of that folder\n", done.IncidentsLeft)
	}
	if c.JSON {
		return printValue(s, map[string]any{"restored": done, "manifest": done.Report.Manifest})
	}
	return show(s.out, fields([][2]string{
		{"tasks", stateCounts(done.Report.States)},
		{"added", fmt.Sprint(done.Added)},
		{"updated", fmt.Sprint(done.Updated)},
		{"kept", kept(done.Kept)},
		{"requeued", requeued(done.Requeued)},
		{"queues", fmt.Sprintf("%d set up", done.Queues)},
		{"incidents", fmt.Sprint(done.Incidents)},
		{"generation", fmt.Sprint(done.Generation)},
	}...))
}

func kept(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d were there, as far or further on", n)
}

func requeued(n int64) string {
	if n == 0 {
		return "0"
	}
	return strings.TrimSpace(fmt.Sprintf("%d ran when the backup was made, and are queued again", n))
}
